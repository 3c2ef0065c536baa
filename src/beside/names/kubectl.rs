//! `kubectl get pods,services -A -o json`, read as a stream: one object at a time, and of that only what names it.
//!
//! Pods are named `pod.namespace`, services `service.namespace.svc`. Pods that have ended gave their address back, and
//! are left out.

use std::io::{self, Read};
use std::net::IpAddr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Names, is_name};
use crate::beside::unused::Unused;

/// Addresses that one object may have.
const ADDRESSES: usize = 64;

/// Reads what kubectl printed. What comes before damage is used; the damage counts as one bad line. Returns how many
/// pairs were read.
pub(super) fn read(names: &mut Names, reader: impl Read, unused: &mut Unused) -> io::Result<u64> {
    let mut reading = Reading { names, unused, items: 0, named: 0, object: Object::default() };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let result = Walk { node: Node::Top, reading: &mut reading }.deserialize(&mut json).and_then(|()| json.end());
    reading.end_object(None);
    match result {
        Err(error) if error.is_io() => return Err(error.into()),
        Err(error) => reading.unused.bad(format_args!("line {}", error.line()), error, &[]),
        Ok(()) => {}
    }
    Ok(reading.named)
}

struct Reading<'a> {
    names: &'a mut Names,
    unused: &'a mut Unused,
    items: u64,
    named: u64,
    object: Object,
}

/// What is known of the object that is being read.
#[derive(Default)]
struct Object {
    kind: String,
    name: String,
    namespace: String,
    phase: String,
    of_pod: Vec<IpAddr>,
    of_service: Vec<IpAddr>,
    /// A text that stands where an address should.
    wrong: Option<String>,
}

/// The places in the document that matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Top,
    Items,
    Object,
    Kind,
    Metadata,
    Name,
    Namespace,
    Spec,
    Status,
    Phase,
    LoadBalancer,
    Ingress,
    /// An address of a pod, or several.
    OfPod,
    /// An address of a service, or several.
    OfService,
}

impl Node {
    fn child(self, key: &str) -> Option<Node> {
        Some(match (self, key) {
            (Node::Top, "items") => Node::Items,
            (Node::Top | Node::Object, "kind") => Node::Kind,
            (Node::Top | Node::Object, "metadata") => Node::Metadata,
            (Node::Top | Node::Object, "spec") => Node::Spec,
            (Node::Top | Node::Object, "status") => Node::Status,
            (Node::Metadata, "name") => Node::Name,
            (Node::Metadata, "namespace") => Node::Namespace,
            (Node::Spec, "clusterIP" | "clusterIPs" | "externalIPs") => Node::OfService,
            (Node::Status, "phase") => Node::Phase,
            (Node::Status, "podIP" | "podIPs") => Node::OfPod,
            (Node::Status, "loadBalancer") => Node::LoadBalancer,
            (Node::LoadBalancer, "ingress") => Node::Ingress,
            (Node::OfPod, "ip") => Node::OfPod,
            (Node::Ingress, "ip") => Node::OfService,
            _ => return None,
        })
    }

    fn element(self) -> Option<Node> {
        match self {
            Node::Items => Some(Node::Object),
            Node::Ingress | Node::OfPod | Node::OfService => Some(self),
            _ => None,
        }
    }
}

impl Reading<'_> {
    fn text(&mut self, node: Node, text: &str) {
        let object = &mut self.object;
        let place = match node {
            Node::Kind => &mut object.kind,
            Node::Name => &mut object.name,
            Node::Namespace => &mut object.namespace,
            Node::Phase => &mut object.phase,
            Node::OfPod => return object.address(text, |object| &mut object.of_pod),
            Node::OfService => return object.address(text, |object| &mut object.of_service),
            _ => return,
        };
        // Longer than any that is right; is_name() refuses it.
        text.clone_into(place);
    }

    /// The object is read: its addresses get its name. `item` is its number in the list.
    fn end_object(&mut self, item: Option<u64>) {
        let object = std::mem::take(&mut self.object);
        let suffix = match object.kind.as_str() {
            "Pod" => "",
            "Service" => ".svc",
            "" if !object.of_service.is_empty() => ".svc",
            "" if !object.of_pod.is_empty() || object.wrong.is_some() => "",
            // The document itself.
            _ if item.is_none() => return,
            _ => return self.unused.other += 1,
        };
        let mut bad = |what: String| match item {
            Some(item) => self.unused.bad(format_args!("item {item}"), what, object.name.as_bytes()),
            None => self.unused.bad(format_args!("the object"), what, object.name.as_bytes()),
        };
        if let Some(wrong) = object.wrong {
            bad(format!("`{wrong}` is no address"));
        }
        if matches!(object.phase.as_str(), "Succeeded" | "Failed") {
            return;
        }
        let addresses = if suffix.is_empty() { object.of_pod } else { object.of_service };
        let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
        let name = format!("{}.{namespace}{suffix}", object.name);
        if addresses.is_empty() {
            return;
        }
        if object.name.is_empty() || !is_name(&name) {
            return bad("it has addresses and no proper name".to_owned());
        }
        self.named += addresses.into_iter().filter(|&address| self.names.add(address, &name)).count() as u64;
    }
}

impl Object {
    fn address(&mut self, text: &str, place: impl Fn(&mut Object) -> &mut Vec<IpAddr>) {
        match text.parse() {
            Ok(address) if place(self).len() < ADDRESSES => place(self).push(address),
            Ok(_) => {}
            // A headless service, one that waits for its address.
            Err(_) if matches!(text, "None" | "") => {}
            Err(_) => self.wrong = Some(text.chars().take(80).collect()),
        }
    }
}

/// Walks a value at a place that matters.
struct Walk<'a, 'b> {
    node: Node,
    reading: &'a mut Reading<'b>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(node) = map.next_key_seed(Key(self.node))? {
            match node {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(node) => map.next_value_seed(Walk { node, reading: &mut *self.reading })?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(node) = self.node.element() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        if self.node == Node::Items {
            self.reading.object = Object::default();
        }
        while seq.next_element_seed(Walk { node, reading: &mut *self.reading })?.is_some() {
            if self.node == Node::Items {
                self.reading.items += 1;
                let item = self.reading.items;
                self.reading.end_object(Some(item));
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.reading.text(self.node, text);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, as the place that it leads to.
struct Key(Node);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Node>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<Node>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<Node>, E> {
        Ok(self.0.child(key))
    }
}
