//! Values by their numbers, and values in a line, in pieces of one size: what grows does not move, and takes no more room than
//! it needs. A vector that grows is there twice for a moment, and up to half empty after that.
//!
//! Room for a piece is asked for at once, and is memory only as far as something was written to it. A piece of 32 MiB or more
//! goes back to the system when it is dropped, whatever allocator is below: smaller ones may stay for others to use.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// Values by their numbers, `N` of them together.
pub(crate) struct Chunks<T, const N: usize> {
    /// All of them are full but the last one.
    chunks: Vec<Vec<T>>,
}

impl<T, const N: usize> Default for Chunks<T, N> {
    fn default() -> Chunks<T, N> {
        Chunks { chunks: Vec::new() }
    }
}

impl<T, const N: usize> Index<u32> for Chunks<T, N> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.chunks[number as usize / N][number as usize % N]
    }
}

impl<T, const N: usize> IndexMut<u32> for Chunks<T, N> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize / N][number as usize % N]
    }
}

impl<T, const N: usize> Chunks<T, N> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * N + last.len())
    }

    /// The value of a number, if there are so many.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / N)?.get(number as usize % N)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.chunks.get_mut(number as usize / N)?.get_mut(number as usize % N)
    }

    /// Gives a value the next number.
    pub fn push(&mut self, value: T) -> u32 {
        let number = self.len() as u32;
        let more = put::<T, N>(self.chunks.last_mut(), value);
        self.chunks.extend(more);
        number
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// Octets in use.
    pub fn memory(&self) -> usize {
        self.len() * size_of::<T>() + 2 * self.chunks.len() * size_of::<Vec<T>>()
    }
}

/// Values by their numbers, which are given again to others when they have gone.
pub(crate) struct Slots<T, const N: usize> {
    values: Chunks<T, N>,
    free: Vec<u32>,
}

impl<T, const N: usize> Default for Slots<T, N> {
    fn default() -> Slots<T, N> {
        Slots { values: Chunks::default(), free: Vec::new() }
    }
}

impl<T, const N: usize> Index<u32> for Slots<T, N> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.values[number]
    }
}

impl<T, const N: usize> IndexMut<u32> for Slots<T, N> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.values[number]
    }
}

impl<T: Default, const N: usize> Slots<T, N> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// Octets in use, or soon to be.
    pub fn memory(&self) -> usize {
        self.values.memory() + 2 * self.free.len() * size_of::<u32>()
    }

    /// How many there were at the same time.
    #[cfg(test)]
    pub fn most(&self) -> usize {
        self.values.len()
    }

    /// Gives a value a number.
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self[number] = value;
                number
            }
            None => self.values.push(value),
        }
    }

    /// Takes the value of a number out; another one may get that.
    pub fn remove(&mut self, number: u32) -> T {
        self.free.push(number);
        std::mem::take(&mut self[number])
    }

    /// All numbers with their values; those that are free have the default.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.values.iter())
    }
}

/// Values in a line: what comes first leaves first.
pub(crate) struct Queued<T, const N: usize> {
    chunks: VecDeque<Vec<T>>,
    /// How many of the first chunk have left.
    left: usize,
    len: usize,
}

impl<T, const N: usize> Default for Queued<T, N> {
    fn default() -> Queued<T, N> {
        Queued { chunks: VecDeque::new(), left: 0, len: 0 }
    }
}

impl<T: Copy, const N: usize> Queued<T, N> {
    /// How many stand in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first one.
    pub fn front(&self) -> Option<&T> {
        self.chunks.front()?.get(self.left)
    }

    /// Lets one stand behind all others.
    pub fn push(&mut self, value: T) {
        let more = put::<T, N>(self.chunks.back_mut(), value);
        self.chunks.extend(more);
        self.len += 1;
    }

    /// Takes out the first one.
    pub fn pop(&mut self) -> Option<T> {
        let first = *self.front()?;
        (self.left, self.len) = (self.left + 1, self.len - 1);
        if self.left == N {
            self.chunks.pop_front();
            self.left = 0;
        }
        Some(first)
    }

    /// Lets only those stay that are such, in their order.
    pub fn retain(&mut self, such: impl Fn(&T) -> bool) {
        for _ in 0..self.len {
            if let Some(value) = self.pop().filter(&such) {
                self.push(value);
            }
        }
    }
}

/// Puts a value into the last piece, or into one more, which has to come behind it.
fn put<T, const N: usize>(last: Option<&mut Vec<T>>, value: T) -> Option<Vec<T>> {
    match last {
        Some(last) if last.len() < N => {
            last.push(value);
            None
        }
        _ => {
            let mut more = Vec::with_capacity(N);
            more.push(value);
            Some(more)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_line_is_as_a_plain_one(steps in prop::collection::vec((0..5_u8, 0..100_u32), 0..300)) {
            let (mut queued, mut model) = (Queued::<u32, 4>::default(), VecDeque::new());
            for (step, value) in steps {
                match step {
                    0 | 1 => {
                        queued.push(value);
                        model.push_back(value);
                    }
                    2 | 3 => assert_eq!(queued.pop(), model.pop_front()),
                    _ => {
                        queued.retain(|one| one % 3 != value % 3);
                        model.retain(|one| one % 3 != value % 3);
                    }
                }
                assert_eq!((queued.len(), queued.front()), (model.len(), model.front()));
            }
        }

        #[test]
        fn slots_are_used_again(steps in prop::collection::vec((0..3_u8, 0..20_u32), 0..200)) {
            let (mut slots, mut model) = (Slots::<u32, 4>::default(), Vec::new());
            for (step, value) in steps {
                if step == 0 && !model.is_empty() {
                    let (number, known) = model.swap_remove(value as usize % model.len());
                    assert_eq!(slots.remove(number), known);
                } else {
                    model.push((slots.insert(value), value));
                }
                assert_eq!(slots.len(), model.len());
                assert!(model.iter().all(|&(number, value)| slots[number] == value));
            }
        }
    }

    #[test]
    fn values_have_the_numbers_that_they_came_with() {
        let mut chunks = Chunks::<u32, 4>::default();
        for value in 0..10 {
            assert_eq!(chunks.push(value * 7), value);
        }
        assert_eq!(chunks.iter().copied().collect::<Vec<_>>(), (0..10).map(|value| value * 7).collect::<Vec<_>>());
        assert_eq!((chunks.len(), chunks.get(9), chunks.get(10)), (10, Some(&63), None));
        chunks.iter_mut().for_each(|value| *value += 1);
        assert_eq!(chunks[3], 22);
    }
}
