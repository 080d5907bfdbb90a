//! Which records of a capture an expression selects.
//!
//! An expression is about packets. Events, processes and losses stay, because
//! they say whose the packets are and what is missing; who shows events or gives them
//! away [chooses](Selection::choosing_events) those that [concern](Selection::concerns)
//! the same packets.

use std::collections::HashMap;
use std::net::IpAddr;

use tcprec_shared::filter::{CompileError, Program, compile};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, End, Event, MAX_INTERFACES, Packet, Record};

use crate::totals::Totals;

/// Passes the records of a capture that an expression selects, or all.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    expression: Option<String>,
    /// What the expression is for each link type.
    programs: Vec<(LinkType, Program)>,
    /// By the interface's id, the place of its program; packets of others do not pass.
    interfaces: HashMap<u32, usize>,
    chooses_events: bool,
    /// For events; none until one comes, or where it makes no sense there.
    of_events: Option<Option<Program>>,
    /// What is left.
    totals: Totals,
}

impl Selection {
    /// A selection by an expression in tcpdump's syntax; of all without one.
    ///
    /// # Errors
    /// The expression is wrong for any link type.
    pub(crate) fn new(expression: Option<String>) -> Result<Self, CompileError> {
        if let Some(expression) = &expression {
            // Some words are known for wireless links only.
            compile(LinkType::ETHERNET, expression)
                .or_else(|error| compile(LinkType::IEEE802_11, expression).map_err(|_| error))?;
        }
        Ok(Self {
            expression,
            ..Self::default()
        })
    }

    /// Totals tell of the events that [concern](Self::concerns) what is selected, and not of
    /// all.
    #[must_use]
    pub(crate) fn choosing_events(mut self) -> Self {
        self.chooses_events = true;
        self
    }

    /// Whether all records are selected as they are.
    #[must_use]
    pub(crate) const fn is_all(&self) -> bool {
        self.expression.is_none()
    }

    /// The record, if it is selected. What tells of the whole capture is
    /// changed to tell of what is left of it.
    ///
    /// # Errors
    /// The expression makes no sense for the link type of an interface.
    pub(crate) fn select<'a>(
        &mut self,
        record: Record<'a>,
    ) -> Result<Option<Record<'a>>, CompileError> {
        let Some(expression) = &self.expression else {
            return Ok(Some(record));
        };
        Ok(match record {
            Record::Packet(packet) => self.passes(&packet).then_some(Record::Packet(packet)),
            Record::Interface(interface) => {
                self.totals.interface(&interface);
                let link = interface.link_type;
                let known = self.programs.iter().position(|(of, _)| *of == link);
                let program = match known {
                    Some(program) => program,
                    None => {
                        self.programs.push((link, compile(link, expression)?));
                        self.programs.len() - 1
                    }
                };
                let known = &self.interfaces;
                if known.len() < MAX_INTERFACES || known.contains_key(&interface.id) {
                    self.interfaces.insert(interface.id, program);
                }
                Some(Record::Interface(interface))
            }
            Record::Capture(capture) => {
                self.totals.begin(&capture);
                Some(Record::Capture(Box::new(Capture {
                    filter: Some(match &capture.filter {
                        Some(first) => format!("({first}) and ({expression})"),
                        None => expression.clone(),
                    }),
                    ..*capture
                })))
            }
            Record::End(end) => {
                let left = self.totals.end(&end);
                Some(Record::End(End {
                    seen_packets: left.packets.saturating_add(end.lost_packets),
                    recorded_packets: left.packets,
                    wire_bytes: left.wire_bytes,
                    ..if self.chooses_events {
                        End {
                            seen_events: left.events.saturating_add(end.lost_events),
                            recorded_events: left.events,
                            ..end
                        }
                    } else {
                        end
                    }
                }))
            }
            Record::Process(_) | Record::Event(_) | Record::Loss(_) => Some(record),
        })
    }

    fn passes(&mut self, packet: &Packet<'_>) -> bool {
        let place = self.interfaces.get(&packet.interface);
        let program = place.and_then(|place| self.programs.get(*place));
        let passes =
            program.is_some_and(|(_, program)| program.passes(&packet.data, packet.wire_bytes));
        if passes {
            self.totals.packet(packet);
        }
        passes
    }

    /// Whether an event is about packets that would pass: whether an ACK
    /// without payload would, from one of its ends to the other, on Ethernet. Those that are
    /// count in the totals, so each is to be asked for once.
    pub(crate) fn concerns(&mut self, event: &Event) -> bool {
        let Some(expression) = &self.expression else {
            return true;
        };
        let program = self
            .of_events
            .get_or_insert_with(|| compile(LinkType::ETHERNET, expression).ok());
        let passes = |src: Endpoint, dst: Endpoint| {
            let (Some(program), Some(frame)) = (&program, ack(src, dst)) else {
                return false;
            };
            u32::try_from(frame.len()).is_ok_and(|length| program.passes(&frame, length))
        };
        let concerns = passes(event.local, event.remote) || passes(event.remote, event.local);
        if concerns {
            self.totals.event(event);
        }
        concerns
    }
}

/// An Ethernet frame with an ACK; none between addresses of two kinds.
fn ack(src: Endpoint, dst: Endpoint) -> Option<Vec<u8>> {
    const TCP_BYTES: u8 = 20;
    const TTL: u8 = 64;
    const TCP: u8 = 6;
    const DATA_OFFSET: u8 = (TCP_BYTES / 4) << 4;
    const ACK: u8 = 0x10;
    let mut frame = vec![0; 12];
    match (src.addr, dst.addr) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            frame.extend([0x45, 0, 0, 20 + TCP_BYTES, 0, 0, 0, 0, TTL, TCP, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd]);
            frame.extend([0x60, 0, 0, 0, 0, TCP_BYTES, TCP, TTL]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => return None,
    }
    frame.extend(src.port.to_be_bytes());
    frame.extend(dst.port.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend([DATA_OFFSET, ACK, 0, 0, 0, 0, 0, 0]);
    Some(frame)
}

#[cfg(test)]
mod tests {

    use tcprec_shared::record::{EventKind, Interface};

    use super::*;

    /// None where nothing compiles filters, but in CI, where that is a failure.
    fn selection(expression: &str) -> Option<Selection> {
        match Selection::new(Some(expression.to_owned())) {
            Err(CompileError::NoCompiler) => {
                assert!(std::env::var_os("CI").is_none(), "no libpcap here");
                println!("passed over: no libpcap here");
                None
            }
            selection => Some(selection.unwrap()),
        }
    }

    fn endpoint(addr: &str, port: u16) -> Endpoint {
        Endpoint::new(addr.parse().unwrap(), port)
    }

    fn packet(interface: u32, data: Vec<u8>) -> Record<'static> {
        Record::Packet(Packet::new(0, interface, data))
    }

    fn interface(id: u32, link_type: LinkType) -> Record<'static> {
        Record::Interface(Interface::new(id, None, link_type))
    }

    #[test]
    fn each_link_type_has_its_program() {
        let Some(mut selection) = selection("tcp dst port 80") else {
            return;
        };
        for (id, link) in [
            (0, LinkType::ETHERNET),
            (1, LinkType::RAW),
            (2, LinkType::RAW),
        ] {
            assert!(selection.select(interface(id, link)).unwrap().is_some());
        }
        assert_eq!(selection.programs.len(), 2);
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("::1", "::2")] {
            let frame = ack(endpoint(src, 9), endpoint(dst, 80)).unwrap();
            let other = ack(endpoint(src, 80), endpoint(dst, 9)).unwrap();
            let mut passes = |id, data: &[u8]| {
                selection
                    .select(packet(id, data.to_vec()))
                    .unwrap()
                    .is_some()
            };
            assert!(passes(0, &frame));
            assert!(passes(1, &frame[14..]));
            assert!(passes(2, &frame[14..]));
            assert!(!passes(3, &frame));
            assert!(!passes(0, &other));
            assert!(!passes(0, &frame[..30]));
        }
    }

    /// Of each recording, in all its files up to there, also where those of several stand
    /// among each other.
    #[test]
    fn totals_are_those_of_what_is_left() {
        let Some(mut selection) = selection("ip6") else {
            return;
        };
        let mut totals_of = |started_ns, sequence, addrs: &[&str], continued| {
            let capture = Record::Capture(Box::new(Capture {
                clock_offset_ns: Some(1),
                started_ns: Some(started_ns),
                sequence,
                ..Capture::default()
            }));
            selection.select(capture).unwrap();
            let _ = selection.select(interface(0, LinkType::RAW)).unwrap();
            for addr in addrs {
                let frame = ack(endpoint(addr, 1), endpoint(addr, 2)).unwrap();
                selection.select(packet(0, frame[14..].to_vec())).unwrap();
            }
            let end = End {
                seen_packets: 10,
                recorded_packets: 9,
                lost_packets: 1,
                wire_bytes: 1000,
                continued,
                ..End::default()
            };
            let Some(Record::End(end)) = selection.select(Record::End(end)).unwrap() else {
                panic!("the end stays");
            };
            assert_eq!(
                (end.seen_packets, end.lost_packets),
                (end.recorded_packets + 1, 1)
            );
            (end.recorded_packets, end.wire_bytes)
        };
        assert_eq!(totals_of(1, 0, &["10.0.0.1", "::1"], true), (1, 60));
        assert_eq!(totals_of(2, 0, &["::1", "::1", "10.0.0.1"], true), (2, 120));
        assert_eq!(totals_of(1, 1, &["::1"], false), (2, 120));
        assert_eq!(totals_of(2, 1, &["::1"], false), (3, 180));
        assert_eq!(totals_of(3, 0, &["10.0.0.1"], false), (0, 0));
    }

    #[test]
    fn events_are_chosen_by_their_ends() {
        let event = Event::new(
            EventKind::Listen,
            0,
            1,
            endpoint("::", 80),
            endpoint("::", 0),
        );
        for (expression, expected) in [
            ("port 80", true),
            ("src port 80", true),
            ("dst port 80", true),
            ("port 81", false),
            ("ip", false),
            ("tcp[tcpflags] = tcp-syn", false),
        ] {
            let Some(mut selection) = selection(expression) else {
                return;
            };
            assert_eq!(selection.concerns(&event), expected, "{expression}");
        }
        assert!(Selection::default().concerns(&event));
    }
}
