//! Values by the numbers of conversations, where few have one, or only those that live: the others take next to nothing.

use crate::chunks::Slots;

/// How many numbers share a page.
const PAGE: usize = 64;

/// A value of each number: the default, unless it was given another one.
///
/// Memory: a page for each 64 numbers of which one has a value, and 4 octets for all other 64.
pub(super) struct Pages<T> {
    /// Of each 64 numbers: where their page is, from 1; 0 if they have none.
    places: Vec<u32>,
    pages: Slots<Page<T>, 64>,
}

struct Page<T> {
    values: [T; PAGE],
    /// How many of them are not the default.
    used: u32,
}

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages { places: Vec::new(), pages: Slots::default() }
    }
}

impl<T: Copy + Default> Default for Page<T> {
    fn default() -> Page<T> {
        Page { values: [T::default(); PAGE], used: 0 }
    }
}

impl<T: Copy + Default + PartialEq> Pages<T> {
    /// The value of a number.
    #[inline]
    pub fn get(&self, number: u32) -> T {
        let number = number as usize;
        let place = self.places.get(number / PAGE).copied().unwrap_or_default();
        match place.checked_sub(1) {
            Some(place) => self.pages[place].values[number % PAGE],
            None => T::default(),
        }
    }

    /// Gives a number a value.
    pub fn set(&mut self, number: u32, value: T) {
        let number = number as usize;
        let (range, default) = (number / PAGE, T::default());
        if self.places.get(range).is_none_or(|place| *place == 0) {
            if value == default {
                return;
            }
            self.make_page(range);
        }
        let place = self.places[range];
        let page = &mut self.pages[place - 1];
        let known = std::mem::replace(&mut page.values[number % PAGE], value);
        page.used = page.used + u32::from(value != default) - u32::from(known != default);
        if page.used == 0 {
            self.places[range] = 0;
            self.pages.remove(place - 1);
        }
    }

    fn make_page(&mut self, range: usize) {
        if self.places.len() <= range {
            self.places.resize(range + 1, 0);
        }
        self.places[range] = self.pages.insert(Page::default()) + 1;
    }

    /// Octets in use, or soon to be: vectors double when they grow.
    pub fn memory(&self) -> usize {
        2 * self.places.len() * size_of::<u32>() + self.pages.memory()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn as_a_plain_map(steps in prop::collection::vec((0..1000_u32, 0..3_u8), 0..500)) {
            let (mut pages, mut model) = (Pages::default(), HashMap::new());
            for (number, value) in steps {
                pages.set(number, value);
                model.insert(number, value);
            }
            for number in 0..1100 {
                assert_eq!(pages.get(number), model.get(&number).copied().unwrap_or_default());
            }
            for number in 0..1000 {
                pages.set(number, 0);
            }
            assert_eq!(pages.pages.len(), 0, "what has no value has no page");
        }
    }

    #[test]
    fn what_lives_for_a_while_shares_pages() {
        let mut pages = Pages::default();
        for number in 0..1_000_000 {
            pages.set(number, 1_u8);
            if number >= 500 {
                pages.set(number - 500, 0);
            }
        }
        assert!(pages.pages.most() < 12, "{} pages", pages.pages.most());
    }
}
