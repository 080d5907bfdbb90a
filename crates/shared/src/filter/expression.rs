//! Expressions that are made, not given.

/// How the messages of HTTP/1 begin (RFC 9110 section 9.3, RFC 5789, RFC 9112
/// section 4).
const HTTP_BEGINNINGS: [&str; 10] = [
    "GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ", "CONNECT ",
    "HTTP/",
];

/// Both must hold; what is none asks nothing.
#[must_use]
pub fn both(a: Option<String>, b: Option<String>) -> Option<String> {
    match (a, b) {
        (Some(a), Some(b)) => Some(format!("({a}) and ({b})")),
        (a, b) => a.or(b),
    }
}

/// No TCP port of a packet is among these.
#[must_use]
pub fn without_ports(ports: &[u16]) -> Option<String> {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    (!ports.is_empty()).then(|| format!("not tcp port ({})", ports.join(" or ")))
}

/// The payload begins as a message of HTTP/1 does, or a connection begins or
/// ends: without these no connection would be seen. IPv6 extension headers
/// are not passed over, as libpcap itself does not.
#[must_use]
pub fn http() -> String {
    // The data offset is in 4-byte words, in the high half of its byte.
    let ipv4 = begins("tcp", "((tcp[12] & 0xf0) >> 2)");
    let ipv6 = begins("ip6", "(40 + ((ip6[52] & 0xf0) >> 2))");
    format!(
        "(tcp and (tcp[13] & 7 != 0 or {ipv4})) or (ip6[6] = 6 and (ip6[53] & 7 != 0 or {ipv6}))"
    )
}

/// One of the beginnings stands at an offset.
fn begins(protocol: &str, offset: &str) -> String {
    let beginnings: Vec<_> = HTTP_BEGINNINGS
        .iter()
        .map(|beginning| stands(protocol, offset, beginning.as_bytes()))
        .collect();
    format!("({})", beginnings.join(" or "))
}

/// Bytes stand at an offset: compared by 4, 2 and 1, as libpcap loads them.
fn stands(protocol: &str, offset: &str, mut bytes: &[u8]) -> String {
    let mut tests = Vec::new();
    let mut at = 0;
    while !bytes.is_empty() {
        let length = match bytes.len() {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        let (now, later) = bytes.split_at(length);
        let number = now
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        tests.push(format!(
            "{protocol}[{offset} + {at}:{length}] = {number:#x}"
        ));
        at += length;
        bytes = later;
    }
    format!("({})", tests.join(" and "))
}
