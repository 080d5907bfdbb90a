//! Programs of the classic BPF machine (McCanne and Jacobson 1993): how they
//! are encoded, which are valid, and what they say of a packet.
//!
//! The codes are those of linux/filter.h and linux/bpf_common.h. The machine
//! has an accumulator A, an index register X, both of 32 bits without a sign,
//! and a scratch memory.

use thiserror::Error;

/// Words of scratch memory (linux/filter.h BPF_MEMWORDS).
pub const SCRATCH_WORDS: usize = 16;

/// From here on offsets stand for what the kernel knows of a packet
/// (linux/filter.h SKF_LL_OFF).
const KERNEL_OFFSETS: u32 = -0x20_0000_i32 as u32;

/// An instruction as it is encoded (linux/filter.h struct sock_filter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawInstruction {
    /// The operation.
    pub code: u16,
    /// So many instructions are passed over if a test holds.
    pub jt: u8,
    /// So many instructions are passed over if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// How much of a packet is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Size {
    Byte,
    Half,
    Word,
}

impl Size {
    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// The second operand of a calculation or a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A number.
    K(u32),
    /// The index register.
    X,
}

/// What is calculated of A and an operand, without a sign. Division by zero
/// rejects the packet; a shift by 32 and more gives 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Alu {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// What is asked of A and an operand, without a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// A is the operand.
    Equal,
    /// A is greater.
    Greater,
    /// A is greater, or the operand.
    GreaterOrEqual,
    /// They have a bit in common.
    AnyBit,
}

/// One instruction. A load from behind the end of the packet rejects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// A becomes what stands at `offset` of the packet, in network byte order.
    LoadAbsolute {
        /// How much.
        size: Size,
        /// Where.
        offset: u32,
    },
    /// The same at X + `offset`.
    LoadIndirect {
        /// How much.
        size: Size,
        /// Where, from X on.
        offset: u32,
    },
    /// A becomes the length of the packet on the wire.
    LoadLength,
    /// A becomes a number.
    LoadImmediate(u32),
    /// A becomes a word of the scratch memory.
    LoadScratch(u8),
    /// X becomes the length of the packet on the wire.
    LoadIndexLength,
    /// X becomes a number.
    LoadIndexImmediate(u32),
    /// X becomes a word of the scratch memory.
    LoadIndexScratch(u8),
    /// X becomes 4 times the low half of the byte at an offset: the length of
    /// an IPv4 header.
    LoadIndexHeaderLength(u32),
    /// A goes to the scratch memory.
    Store(u8),
    /// X goes to the scratch memory.
    StoreIndex(u8),
    /// A becomes the result of A and the operand.
    Calculate(Alu, Operand),
    /// A becomes its negative (two's complement).
    Negate,
    /// So many instructions are passed over.
    Jump(u32),
    /// So many instructions are passed over, by the answer.
    JumpIf {
        /// What is asked.
        test: Test,
        /// Of A and this.
        operand: Operand,
        /// If it holds.
        yes: u8,
        /// If it does not.
        no: u8,
    },
    /// Ends: the packet passes if the number is not 0.
    Return(u32),
    /// Ends: the packet passes if A is not 0.
    ReturnA,
    /// X becomes A.
    CopyToIndex,
    /// A becomes X.
    CopyFromIndex,
}

/// Why an encoded program is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidProgram {
    /// An operation that the classic machine does not have, or cannot do.
    #[error("instruction {at} is unknown (code {code:#x})")]
    Unknown {
        /// Which instruction.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A jump backwards, or to behind the end.
    #[error("it has a loop, as made by protochain, which kernels do not run either")]
    Jump {
        /// Which instruction.
        at: usize,
    },
    /// A question that no byte of the packet answers.
    #[error("inbound, outbound and ifindex are not part of a packet: only the kernel knows them")]
    Kernel {
        /// Which instruction.
        at: usize,
    },
    /// The last instruction does not end it, or there is none.
    #[error("the program does not end")]
    Endless,
}

/// A valid program: it ends on every packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Decodes a program.
    ///
    /// # Errors
    /// When it is not valid; see [`InvalidProgram`].
    pub fn decode(raw: &[RawInstruction]) -> Result<Self, InvalidProgram> {
        let mut instructions = Vec::with_capacity(raw.len());
        for (at, raw_instruction) in raw.iter().enumerate() {
            let instruction =
                Instruction::decode(*raw_instruction).ok_or(InvalidProgram::Unknown {
                    at,
                    code: raw_instruction.code,
                })?;
            if let Instruction::LoadAbsolute { offset, .. } = instruction
                && offset >= KERNEL_OFFSETS
            {
                return Err(InvalidProgram::Kernel { at });
            }
            // Jumps go forward only, so no program runs for ever.
            let after = raw.len() - at - 1;
            let stays = |jump: usize| jump < after;
            let is_fine = match instruction {
                Instruction::Jump(by) => usize::try_from(by).is_ok_and(stays),
                Instruction::JumpIf { yes, no, .. } => stays(yes.into()) && stays(no.into()),
                _ => true,
            };
            if !is_fine {
                return Err(InvalidProgram::Jump { at });
            }
            instructions.push(instruction);
        }
        match instructions.last() {
            Some(Instruction::Return(_) | Instruction::ReturnA) => Ok(Self(instructions)),
            _ => Err(InvalidProgram::Endless),
        }
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Whether a packet passes, of which `data` was captured out of `wire_bytes`.
    #[must_use]
    pub fn passes(&self, data: &[u8], wire_bytes: u32) -> bool {
        self.run(data, wire_bytes).is_some_and(|result| result != 0)
    }

    /// What the program returns; none where an instruction rejects the packet.
    fn run(&self, data: &[u8], wire_bytes: u32) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut scratch = [0_u32; SCRATCH_WORDS];
        let mut at = 0;
        loop {
            let instruction = *self.0.get(at)?;
            at += 1;
            match instruction {
                Instruction::LoadAbsolute { size, offset } => a = load(data, offset, size)?,
                Instruction::LoadIndirect { size, offset } => {
                    a = load(data, x.checked_add(offset)?, size)?;
                }
                Instruction::LoadLength => a = wire_bytes,
                Instruction::LoadImmediate(k) => a = k,
                Instruction::LoadScratch(word) => a = *scratch.get(usize::from(word))?,
                Instruction::LoadIndexLength => x = wire_bytes,
                Instruction::LoadIndexImmediate(k) => x = k,
                Instruction::LoadIndexScratch(word) => x = *scratch.get(usize::from(word))?,
                Instruction::LoadIndexHeaderLength(offset) => {
                    x = (load(data, offset, Size::Byte)? & 0x0f) * 4;
                }
                Instruction::Store(word) => *scratch.get_mut(usize::from(word))? = a,
                Instruction::StoreIndex(word) => *scratch.get_mut(usize::from(word))? = x,
                Instruction::Calculate(alu, operand) => a = alu.calculate(a, operand.value(x))?,
                Instruction::Negate => a = a.wrapping_neg(),
                Instruction::Jump(by) => at += usize::try_from(by).ok()?,
                Instruction::JumpIf {
                    test,
                    operand,
                    yes,
                    no,
                } => {
                    let holds = test.holds(a, operand.value(x));
                    at += usize::from(if holds { yes } else { no });
                }
                Instruction::Return(k) => return Some(k),
                Instruction::ReturnA => return Some(a),
                Instruction::CopyToIndex => x = a,
                Instruction::CopyFromIndex => a = x,
            }
        }
    }
}

fn load(data: &[u8], offset: u32, size: Size) -> Option<u32> {
    let data = data.get(usize::try_from(offset).ok()?..)?;
    Some(match size {
        Size::Byte => (*data.first()?).into(),
        Size::Half => u16::from_be_bytes(*data.first_chunk()?).into(),
        Size::Word => u32::from_be_bytes(*data.first_chunk()?),
    })
}

impl Operand {
    const fn value(self, x: u32) -> u32 {
        match self {
            Self::K(k) => k,
            Self::X => x,
        }
    }
}

impl Alu {
    /// None after a division by zero.
    fn calculate(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Subtract => a.wrapping_sub(b),
            Self::Multiply => a.wrapping_mul(b),
            Self::Divide => a.checked_div(b)?,
            Self::Modulo => a.checked_rem(b)?,
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Self::ShiftRight => a.checked_shr(b).unwrap_or(0),
        })
    }
}

impl Test {
    const fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

impl Instruction {
    /// None of an operation that the machine does not have, of a word beyond
    /// its scratch memory, and of a division by the number zero.
    fn decode(raw: RawInstruction) -> Option<Self> {
        const INDEX: u16 = 0x08;
        let RawInstruction { code, jt, jf, k } = raw;
        let word = || {
            u8::try_from(k)
                .ok()
                .filter(|k| usize::from(*k) < SCRATCH_WORDS)
        };
        let operand = if code & INDEX == 0 {
            Operand::K(k)
        } else {
            Operand::X
        };
        // linux/bpf_common.h: class, then size and mode, or operation and source.
        Some(match code {
            0x00 => Self::LoadImmediate(k),
            0x20 | 0x28 | 0x30 => Self::LoadAbsolute {
                size: size(code),
                offset: k,
            },
            0x40 | 0x48 | 0x50 => Self::LoadIndirect {
                size: size(code),
                offset: k,
            },
            0x60 => Self::LoadScratch(word()?),
            0x80 => Self::LoadLength,
            0x01 => Self::LoadIndexImmediate(k),
            0x61 => Self::LoadIndexScratch(word()?),
            0x81 => Self::LoadIndexLength,
            0xb1 => Self::LoadIndexHeaderLength(k),
            0x02 => Self::Store(word()?),
            0x03 => Self::StoreIndex(word()?),
            0x84 => Self::Negate,
            0x05 => Self::Jump(k),
            0x06 => Self::Return(k),
            0x16 => Self::ReturnA,
            0x07 => Self::CopyToIndex,
            0x87 => Self::CopyFromIndex,
            _ if code & 0xff07 == 0x04 => {
                let alu = match code & 0xf0 {
                    0x00 => Alu::Add,
                    0x10 => Alu::Subtract,
                    0x20 => Alu::Multiply,
                    0x30 => Alu::Divide,
                    0x40 => Alu::Or,
                    0x50 => Alu::And,
                    0x60 => Alu::ShiftLeft,
                    0x70 => Alu::ShiftRight,
                    0x90 => Alu::Modulo,
                    0xa0 => Alu::Xor,
                    _ => return None,
                };
                if matches!(alu, Alu::Divide | Alu::Modulo) && operand == Operand::K(0) {
                    return None;
                }
                Self::Calculate(alu, operand)
            }
            _ if code & 0xff07 == 0x05 => {
                let test = match code & 0xf0 {
                    0x10 => Test::Equal,
                    0x20 => Test::Greater,
                    0x30 => Test::GreaterOrEqual,
                    0x40 => Test::AnyBit,
                    _ => return None,
                };
                Self::JumpIf {
                    test,
                    operand,
                    yes: jt,
                    no: jf,
                }
            }
            _ => return None,
        })
    }
}

/// The size that the code of a load names.
const fn size(code: u16) -> Size {
    match code & 0x18 {
        0x08 => Size::Half,
        0x10 => Size::Byte,
        _ => Size::Word,
    }
}
