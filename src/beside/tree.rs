//! JSON as a stream: what comes in is a document and the places in it that matter ([`Places`]); what goes out is each value
//! that stands at one of them. Everything else is passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::Read;

/// The places that matter, and what is done with the values there.
pub(super) trait Places {
    /// A place.
    type Place: Copy;

    /// The place that a key of an object leads to.
    fn child(&self, object: Self::Place, key: &str) -> Option<Self::Place>;

    /// A list begins: the place of its elements.
    fn elements(&mut self, _list: Self::Place) -> Option<Self::Place> {
        None
    }

    /// An element of a list was read.
    fn element_ended(&mut self, _list: Self::Place) {}

    /// A string.
    fn text(&mut self, place: Self::Place, text: &str);

    /// A number or a boolean, as JSON writes it; none for null.
    fn other(&mut self, _place: Self::Place, _value: Option<fmt::Arguments<'_>>) {}
}

/// Reads a document to its end.
pub(super) fn walk<'de, P: Places>(
    places: &mut P,
    top: P::Place,
    mut json: serde_json::Deserializer<impl Read<'de>>,
) -> serde_json::Result<()> {
    Walk { place: top, places }.deserialize(&mut json).and_then(|()| json.end())
}

/// Reads the value at a place.
struct Walk<'a, P: Places> {
    place: P::Place,
    places: &'a mut P,
}

impl<'de, P: Places> DeserializeSeed<'de> for Walk<'_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Places> Visitor<'de> for Walk<'_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Key { object: self.place, places: &*self.places })? {
            match child {
                Some(place) => map.next_value_seed(Walk { place, places: &mut *self.places })?,
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(place) = self.places.elements(self.place) else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while seq.next_element_seed(Walk { place, places: &mut *self.places })?.is_some() {
            self.places.element_ended(self.place);
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.places.text(self.place, text);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.places.other(self.place, Some(format_args!("{value}")));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.places.other(self.place, Some(format_args!("{value}")));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.places.other(self.place, Some(format_args!("{value}")));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.places.other(self.place, Some(format_args!("{value}")));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.places.other(self.place, None);
        Ok(())
    }
}

/// A key, as the place that it leads to.
struct Key<'a, P: Places> {
    object: P::Place,
    places: &'a P,
}

impl<'de, P: Places> DeserializeSeed<'de> for Key<'_, P> {
    type Value = Option<P::Place>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<P: Places> Visitor<'_> for Key<'_, P> {
    type Value = Option<P::Place>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.places.child(self.object, key))
    }
}
