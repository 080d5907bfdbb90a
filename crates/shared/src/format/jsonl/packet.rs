//! The lines of packets, in the one form in which this version writes them.
//!
//! Nearly all lines of a capture are packets, and this is several times
//! faster than going by the schema's derived code. The form is the one that
//! serde gives to [`Packet`]: [`parse`] gives up on any other, and the caller
//! goes by the schema.

use std::borrow::Cow;

use crate::record::{Direction, KernelParse, Packet};

use super::super::text::Text;
use super::decode;
use super::line;
use super::rest::Rest;

/// Appends the line of a packet, without its end.
pub(super) fn write(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let Packet {
        ts_ns,
        interface,
        direction,
        wire_bytes,
        cookie,
        kernel,
        data,
    } = packet;
    let mut line = Text::new(out);
    line.number("{\"type\":\"packet\",\"ts_ns\":", *ts_ns);
    line.number(",\"interface\":", *interface);
    line.text(match direction {
        None => "",
        Some(Direction::In) => ",\"direction\":\"in\"",
        Some(Direction::Out) => ",\"direction\":\"out\"",
    });
    line.number(",\"wire_bytes\":", *wire_bytes);
    if let Some(cookie) = cookie {
        line.number(",\"cookie\":", *cookie);
    }
    if let Some(kernel) = kernel {
        let KernelParse {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
        } = kernel;
        line::endpoint(&mut line, ",\"kernel\":{\"src\":", src);
        line::endpoint(&mut line, ",\"dst\":", dst);
        line.number(",\"flags\":", *flags);
        line.number(",\"header_bytes\":", *header_bytes);
        line.number(",\"payload_bytes\":", *payload_bytes);
        line.text("}");
    }
    line.text(",\"data\":\"");
    line::base64(&mut line, data);
    line.text("\"}");
}

/// Reads a line that [`write()`] wrote; the packet's bytes are put behind what is in
/// `data`.
pub(super) fn parse(line: &[u8], data: &mut Vec<u8>) -> Option<Packet<'static>> {
    let mut rest = Rest(line);
    rest.text("{\"type\":\"packet\",\"ts_ns\":")?;
    let ts_ns = rest.signed()?;
    rest.text(",\"interface\":")?;
    let interface = rest.number()?;
    let mut direction = None;
    if rest.text(",\"direction\":\"").is_some() {
        direction = Some(match rest.string()? {
            b"in" => Direction::In,
            b"out" => Direction::Out,
            _ => return None,
        });
    }
    rest.text(",\"wire_bytes\":")?;
    let wire_bytes = rest.number()?;
    let mut cookie = None;
    if rest.text(",\"cookie\":").is_some() {
        cookie = Some(rest.number()?);
    }
    let mut kernel = None;
    if rest.text(",\"kernel\":{\"src\":{\"addr\":\"").is_some() {
        let src = rest.endpoint()?;
        rest.text(",\"dst\":{\"addr\":\"")?;
        let dst = rest.endpoint()?;
        rest.text(",\"flags\":")?;
        let flags = rest.number()?;
        rest.text(",\"header_bytes\":")?;
        let header_bytes = rest.number()?;
        rest.text(",\"payload_bytes\":")?;
        let payload_bytes = rest.number()?;
        rest.text("}")?;
        kernel = Some(KernelParse {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
        });
    }
    rest.text(",\"data\":\"")?;
    // A quote within it is no base64.
    let text = rest.0.strip_suffix(b"\"}")?;
    decode(text, data).ok()?;
    Some(Packet {
        ts_ns,
        interface,
        direction,
        wire_bytes,
        cookie,
        kernel,
        data: Cow::Borrowed(&[]),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::tests::generate;
    use crate::record::Record;

    proptest! {
        /// The form is the schema's: what is written here and what serde makes
        /// of the same packet are the same, and it is read here.
        #[test]
        fn the_form_is_the_schemas(packet in generate::packet(vec![0, 1, u32::MAX])) {
            let mut line = Vec::new();
            write(&mut line, &packet);
            let packet = Record::Packet(packet);
            prop_assert_eq!(&line, &serde_json::to_vec(&packet).unwrap());
            let mut data = vec![1];
            let parsed = parse(&line, &mut data).unwrap();
            prop_assert_eq!(data.remove(0), 1);
            let parsed = Packet { data: Cow::Owned(data), ..parsed };
            prop_assert_eq!(Record::Packet(parsed), packet);
        }
    }

    #[test]
    fn other_forms_are_left_to_the_schema() {
        let start = r#"{"type":"packet","ts_ns":1,"interface":0,"wire_bytes":2,"data":"#;
        let whole = format!(r#"{start}"AAA="}}"#);
        assert!(parse(whole.as_bytes(), &mut Vec::new()).is_some());
        for other in [
            format!("{whole} "),
            format!(" {whole}"),
            format!(r#"{start}"AAA=","later":1}}"#),
            format!(r#"{start}"AA\u0041="}}"#),
            format!(r#"{start}"AAA"}}"#),
            whole.replace(":1,", ":01,"),
            whole.replace(":1,", ":1e0,"),
            whole.replace(":1,", ":9223372036854775808,"),
            whole.replace(":0,", ":4294967296,"),
        ] {
            let mut data = vec![1];
            assert!(parse(other.as_bytes(), &mut data).is_none(), "{other}");
            assert_eq!(data, [1], "{other}");
        }
    }
}
