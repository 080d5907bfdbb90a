use super::*;
use crate::headers::LinkType;

fn program(code: &[(u16, u8, u8, u32)]) -> Result<Program, InvalidProgram> {
    let raw: Vec<_> = code
        .iter()
        .map(|&(code, jt, jf, k)| RawInstruction { code, jt, jf, k })
        .collect();
    Program::decode(&raw)
}

const RETURN_A: (u16, u8, u8, u32) = (0x16, 0, 0, 0);

/// Whether a program ends with A being `expected`.
fn assert_a(code: &[(u16, u8, u8, u32)], data: &[u8], expected: u32) {
    let mut code = code.to_vec();
    code.extend([(0x15, 0, 1, expected), (0x06, 0, 0, 1), (0x06, 0, 0, 0)]);
    assert!(program(&code).unwrap().passes(data, 100), "{code:?}");
}

#[test]
fn what_is_no_program_is_refused() {
    assert_eq!(program(&[]), Err(InvalidProgram::Endless));
    assert_eq!(program(&[(0, 0, 0, 1)]), Err(InvalidProgram::Endless));
    let jumps = Err(InvalidProgram::Jump { at: 0 });
    assert_eq!(program(&[(0x05, 0, 0, 1), RETURN_A]), jumps);
    assert_eq!(program(&[(0x05, 0, 0, u32::MAX), RETURN_A]), jumps);
    assert_eq!(program(&[(0x15, 1, 0, 1), RETURN_A]), jumps);
    assert_eq!(program(&[(0x15, 0, 1, 1), RETURN_A]), jumps);
    let kernel = (0x20, 0, 0, 0xffff_f004);
    assert_eq!(
        program(&[kernel, RETURN_A]),
        Err(InvalidProgram::Kernel { at: 0 })
    );
    // Unknown, a scratch word too far, division by zero, a wide code.
    for (code, k) in [
        (0xff, 0),
        (0x60, 16),
        (0x02, 16),
        (0x34, 0),
        (0x94, 0),
        (0x106, 0),
    ] {
        assert_eq!(
            program(&[(code, 0, 0, k), RETURN_A]),
            Err(InvalidProgram::Unknown { at: 0, code })
        );
    }
}

#[test]
fn every_code_is_decoded_or_refused() {
    for code in 0..=u16::MAX {
        if let Ok(program) = program(&[(code, 0, 0, 1), RETURN_A]) {
            let _ = program.passes(&[1, 2, 3], 3);
        }
    }
}

#[test]
fn loads_stay_within_the_packet() {
    let data = [0x45, 1, 2, 3, 4, 5];
    assert_a(&[(0x20, 0, 0, 2)], &data, 0x0203_0405);
    assert_a(&[(0x28, 0, 0, 4)], &data, 0x0405);
    assert_a(&[(0x30, 0, 0, 5)], &data, 5);
    assert_a(&[(0x80, 0, 0, 0)], &data, 100);
    assert_a(&[(0x81, 0, 0, 0), (0x87, 0, 0, 0)], &data, 100);
    assert_a(&[(0xb1, 0, 0, 0), (0x87, 0, 0, 0)], &data, 20);
    assert_a(&[(0x01, 0, 0, 3), (0x50, 0, 0, 1)], &data, 4);
    let one = (0x06, 0, 0, 1);
    for (code, k) in [
        (0x20, 3),
        (0x28, 5),
        (0x30, 6),
        (0x30, u32::MAX >> 1),
        (0xb1, 6),
    ] {
        assert!(!program(&[(code, 0, 0, k), one]).unwrap().passes(&data, 100));
    }
    // X + k does not wrap.
    let wraps = program(&[(0x01, 0, 0, u32::MAX), (0x50, 0, 0, 2), one]).unwrap();
    assert!(!wraps.passes(&data, 100));
}

#[test]
fn calculations_have_no_traps() {
    let calculate = |code: u16, a, x| [(0x01, 0, 0, x), (0x00, 0, 0, a), (code | 0x08, 0, 0, 0)];
    assert_a(&calculate(0x04, u32::MAX, 2), &[], 1);
    assert_a(&calculate(0x14, 1, 2), &[], u32::MAX);
    assert_a(&calculate(0x24, 1 << 31, 2), &[], 0);
    assert_a(&calculate(0x34, 7, 2), &[], 3);
    assert_a(&calculate(0x94, 7, 4), &[], 3);
    assert_a(&calculate(0x44, 5, 2), &[], 7);
    assert_a(&calculate(0x54, 7, 2), &[], 2);
    assert_a(&calculate(0xa4, 7, 2), &[], 5);
    assert_a(&calculate(0x64, 1, 31), &[], 1 << 31);
    assert_a(&calculate(0x64, 1, 32), &[], 0);
    assert_a(&calculate(0x74, 1 << 31, 31), &[], 1);
    assert_a(&calculate(0x74, 1, 99), &[], 0);
    assert_a(&[(0x00, 0, 0, 1), (0x84, 0, 0, 0)], &[], u32::MAX);
    for code in [0x3c, 0x9c] {
        let division = program(&[(0x00, 0, 0, 1), (code, 0, 0, 0), (0x06, 0, 0, 1)]).unwrap();
        assert!(!division.passes(&[], 0));
    }
}

#[test]
fn registers_and_scratch_keep_what_they_are_given() {
    let code = [
        (0x00, 0, 0, 7),
        (0x02, 0, 0, 15),
        (0x01, 0, 0, 9),
        (0x03, 0, 0, 0),
        (0x61, 0, 0, 15),
        (0x60, 0, 0, 0),
        (0x0c, 0, 0, 0),
        (0x07, 0, 0, 0),
        (0x00, 0, 0, 0),
        (0x87, 0, 0, 0),
    ];
    assert_a(&code, &[], 16);
}

/// A test that needs libpcap: where there is none it says so and passes, but in CI.
fn compiled(expression: &str) -> Option<Result<Program, String>> {
    match compile(LinkType::ETHERNET, expression) {
        Err(CompileError::NoCompiler) => {
            assert!(std::env::var_os("CI").is_none(), "no libpcap here");
            println!("passed over: no libpcap here");
            None
        }
        result => Some(result.map_err(|error| error.to_string())),
    }
}

#[test]
fn mistakes_are_shown_with_their_place() {
    for (expression, place) in [
        ("tcp port 80 andd host 10.0.0.9", "            ^"),
        ("tcp port 80 and and udp", "                ^"),
        ("(tcp port 80 and )", "                 ^"),
        ("tcp[13 = 2", "       ^"),
        ("tcp port", "        ^"),
        ("port 80 or (tcp", "               ^"),
        ("tcp portt 80", "    ^"),
        ("host 1.2.3.4 80", "             ^"),
        ("ip host and tcp", "        ^"),
    ] {
        let Some(result) = compiled(expression) else {
            return;
        };
        let error = result.unwrap_err();
        let expected = format!("filter: syntax error\n    {expression}\n    {place}");
        assert_eq!(error, expected);
    }
}

#[test]
fn what_is_unknown_is_pointed_at() {
    let Some(result) = compiled("tcp and port nosuchport") else {
        return;
    };
    let error = result.unwrap_err();
    assert!(error.contains("nosuchport"), "{error}");
    assert!(error.ends_with("\n                 ^"), "{error}");
}

#[test]
fn hostile_expressions_are_refused() {
    let deep = "(".repeat(30_000);
    let long = "tcp or ".repeat(10_000);
    for expression in ["\0", "tcp\0", &deep, &long, "tcp[", "\u{e9}\u{301}", "((("] {
        let Some(result) = compiled(expression) else {
            return;
        };
        assert!(result.is_err());
    }
}
