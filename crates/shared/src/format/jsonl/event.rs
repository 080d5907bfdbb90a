//! The lines of events, in the one form in which this version writes them:
//! where connections are short there are as many as packets.
//!
//! The form is the one that serde gives to [`Event`]: [`parse`] gives up on any
//! other, and the caller goes by the schema.

use crate::record::{Event, ProcessId, TcpFacts};

use super::super::text::Text;
use super::line;
use super::rest::Rest;

/// Appends the line of an event, without its end.
pub(super) fn write(out: &mut Vec<u8>, event: &Event) {
    let Event {
        kind,
        ts_ns,
        cookie,
        netns,
        local,
        remote,
        process,
        tid,
        old_state,
        new_state,
        direction,
        tcp,
    } = event;
    let mut line = Text::new(out);
    line.text("{\"type\":\"");
    line.text(kind.word());
    line.number("\",\"ts_ns\":", *ts_ns);
    if let Some(cookie) = cookie {
        line.number(",\"cookie\":", *cookie);
    }
    line.number(",\"netns\":", *netns);
    line::endpoint(&mut line, ",\"local\":", local);
    line::endpoint(&mut line, ",\"remote\":", remote);
    if let Some(ProcessId { pid, start_ns }) = process {
        line.number(",\"process\":{\"pid\":", *pid);
        line.number(",\"start_ns\":", *start_ns);
        line.text("}");
    }
    if let Some(tid) = tid {
        line.number(",\"tid\":", *tid);
    }
    if let Some(state) = old_state {
        line.text(",\"old_state\":\"");
        line.text(state.word());
        line.text("\"");
    }
    if let Some(state) = new_state {
        line.text(",\"new_state\":\"");
        line.text(state.word());
        line.text("\"");
    }
    if let Some(direction) = direction {
        line.text(",\"direction\":\"");
        line.text(direction.word());
        line.text("\"");
    }
    if let Some(TcpFacts {
        srtt_ns,
        sent_bytes,
        acked_bytes,
        received_bytes,
        retransmitted_packets,
    }) = tcp
    {
        line.number(",\"tcp\":{\"srtt_ns\":", *srtt_ns);
        line.number(",\"sent_bytes\":", *sent_bytes);
        line.number(",\"acked_bytes\":", *acked_bytes);
        line.number(",\"received_bytes\":", *received_bytes);
        line.number(",\"retransmitted_packets\":", *retransmitted_packets);
        line.text("}");
    }
    line.text("}");
}

/// Reads the line of an event.
pub(super) fn parse(line: &[u8]) -> Option<Event> {
    let mut rest = Rest(line);
    rest.text("{\"type\":\"")?;
    let kind = rest.word()?;
    rest.text(",\"ts_ns\":")?;
    let ts_ns = rest.signed()?;
    let mut cookie = None;
    if rest.text(",\"cookie\":").is_some() {
        cookie = Some(rest.number()?);
    }
    rest.text(",\"netns\":")?;
    let netns = rest.number()?;
    rest.text(",\"local\":{\"addr\":\"")?;
    let local = rest.endpoint()?;
    rest.text(",\"remote\":{\"addr\":\"")?;
    let remote = rest.endpoint()?;
    let mut event = Event {
        kind,
        ts_ns,
        cookie,
        netns,
        local,
        remote,
        process: None,
        tid: None,
        old_state: None,
        new_state: None,
        direction: None,
        tcp: None,
    };
    if rest.text(",\"process\":{\"pid\":").is_some() {
        let pid = rest.number()?;
        rest.text(",\"start_ns\":")?;
        let start_ns = rest.signed()?;
        rest.text("}")?;
        event.process = Some(ProcessId { pid, start_ns });
    }
    if rest.text(",\"tid\":").is_some() {
        event.tid = Some(rest.number()?);
    }
    if rest.text(",\"old_state\":\"").is_some() {
        event.old_state = Some(rest.word()?);
    }
    if rest.text(",\"new_state\":\"").is_some() {
        event.new_state = Some(rest.word()?);
    }
    if rest.text(",\"direction\":\"").is_some() {
        event.direction = Some(rest.word()?);
    }
    if rest.text(",\"tcp\":{\"srtt_ns\":").is_some() {
        event.tcp = Some(facts(&mut rest)?);
    }
    rest.text("}")?;
    rest.is_over()?;
    Some(event)
}

/// The rest of a connection's facts, after the name of the first.
fn facts(rest: &mut Rest<'_>) -> Option<TcpFacts> {
    let srtt_ns = rest.number()?;
    rest.text(",\"sent_bytes\":")?;
    let sent_bytes = rest.number()?;
    rest.text(",\"acked_bytes\":")?;
    let acked_bytes = rest.number()?;
    rest.text(",\"received_bytes\":")?;
    let received_bytes = rest.number()?;
    rest.text(",\"retransmitted_packets\":")?;
    let retransmitted_packets = rest.number()?;
    rest.text("}")?;
    Some(TcpFacts {
        srtt_ns,
        sent_bytes,
        acked_bytes,
        received_bytes,
        retransmitted_packets,
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
        /// of the same event are the same, and it is read here.
        #[test]
        fn the_form_is_the_schemas(event in generate::event()) {
            let mut line = Vec::new();
            write(&mut line, &event);
            let schemas = serde_json::to_vec(&Record::Event(event.clone())).unwrap();
            prop_assert_eq!(&line, &schemas);
            prop_assert_eq!(parse(&line), Some(event));
        }
    }

    #[test]
    fn other_forms_are_left_to_the_schema() {
        let whole = r#"{"type":"reset","ts_ns":-1,"netns":2,"local":{"addr":"::1","port":80},"remote":{"addr":"10.0.0.1","port":0},"direction":"in"}"#;
        assert!(parse(whole.as_bytes()).is_some());
        for other in [
            format!("{whole} "),
            format!(" {whole}"),
            whole.replace("\"in\"}", "\"in\",\"later\":1}"),
            whole.replace("reset", "later"),
            whole.replace("reset", "re\\u0073et"),
            whole.replace(":2,", ":02,"),
            whole.replace("10.0.0.1", "10.0.0.01"),
            whole.replace("10.0.0.1", "10.0.0.256"),
            whole.replace("10.0.0.1", "10.0.0"),
            whole.replace(":80}", ":65536}"),
            whole.replace("\"in\"", "\"up\""),
        ] {
            if other != whole {
                assert_eq!(parse(other.as_bytes()), None, "{other}");
            }
        }
    }
}
