//! `kubectl get pods,services -A -o json`, read as a stream: one object at a time, and of that only what names it.
//!
//! Pods are named `pod.namespace`, services `service.namespace.svc`. Pods that have ended gave their address back, and
//! are left out.

use std::io::{self, Read};
use std::net::IpAddr;

use super::{Names, is_name};
use crate::beside::tree::{Places, walk};
use crate::beside::unused::Unused;

/// Addresses that one object may have.
const ADDRESSES: usize = 64;

/// Reads what kubectl printed. What comes before damage is used; the damage counts as one bad line. Returns how many
/// pairs were read.
pub(super) fn read(names: &mut Names, reader: impl Read, unused: &mut Unused) -> io::Result<u64> {
    let mut reading = Reading { names, unused, items: 0, named: 0, object: Object::default() };
    let result = walk(&mut reading, Node::Top, serde_json::Deserializer::from_reader(reader));
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

impl Places for Reading<'_> {
    type Place = Node;

    fn child(&self, object: Node, key: &str) -> Option<Node> {
        Some(match (object, key) {
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

    fn elements(&mut self, list: Node) -> Option<Node> {
        match list {
            Node::Items => {
                // What was read so far is the list's own.
                self.object = Object::default();
                Some(Node::Object)
            }
            Node::Ingress | Node::OfPod | Node::OfService => Some(list),
            _ => None,
        }
    }

    fn element_ended(&mut self, list: Node) {
        if list == Node::Items {
            self.items += 1;
            self.end_object(Some(self.items));
        }
    }

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
}

impl Reading<'_> {
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
