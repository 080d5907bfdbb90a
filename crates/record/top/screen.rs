//! The terminal while a table is shown on it: its second screen, keys without
//! Enter and without an echo. Dropping it brings everything back.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    self, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices as Special, Termios,
};
use terminal_size::{Height, Width, terminal_size};

/// To the second screen, and without the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Clears the rest of the line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
const HOME: &str = "\x1b[H";
/// No special character (POSIX's _POSIX_VDISABLE).
const NONE: u8 = 0;

/// A terminal in use.
pub(crate) struct Screen {
    /// How its input was; none where the input is no terminal.
    before: Option<Termios>,
}

/// What came while nothing was to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Nothing,
    /// Keys that were pressed.
    Keys(Vec<u8>),
    /// Who would see it is gone.
    End,
}

impl Screen {
    /// Takes the terminal that standard input and output are.
    ///
    /// # Errors
    /// The terminal's.
    pub(crate) fn enter() -> io::Result<Self> {
        let input = io::stdin();
        let before = if input.is_terminal() {
            let before = termios::tcgetattr(&input)?;
            let mut during = before.clone();
            during
                .local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO);
            // Ctrl-S would hold the output, Ctrl-Z leave the shell with this screen.
            during.input_flags.remove(InputFlags::IXON);
            during.control_chars[Special::VSUSP as usize] = NONE;
            termios::tcsetattr(&input, SetArg::TCSANOW, &during)?;
            Some(before)
        } else {
            None
        };
        let screen = Self { before };
        write(ENTER)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(crate) fn size() -> (usize, usize) {
        terminal_size().map_or((80, 24), |(Width(columns), Height(lines))| {
            (columns.into(), lines.into())
        })
    }

    /// Shows lines, the last of them at the bottom.
    ///
    /// # Errors
    /// The terminal's.
    pub(crate) fn show(&self, lines: &[String], bottom: &str) -> io::Result<()> {
        let mut frame = HOME.to_owned();
        for line in lines {
            frame.push_str(line);
            frame.push_str(CLEAR_LINE);
            frame.push_str("\r\n");
        }
        frame.push_str(CLEAR_REST);
        let (_, height) = Self::size();
        frame.push_str(&format!("\x1b[{height};1H{bottom}"));
        write(&frame)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Waits until a key is pressed, where keys are asked for, or whoever reads the
/// output is gone.
///
/// # Errors
/// The kernel's.
pub(crate) fn wait(timeout: Duration, screen: Option<&Screen>) -> io::Result<Came> {
    let (input, output) = (io::stdin(), io::stdout());
    let takes_keys = screen.is_some_and(|screen| screen.before.is_some());
    // Of the output only its end is asked for, which needs no flag.
    let mut fds = vec![PollFd::new(output.as_fd(), PollFlags::empty())];
    if takes_keys {
        fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
    }
    let timeout = PollTimeout::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut fds, timeout) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(Came::Nothing),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let has = |place: usize| {
        let came: Option<&PollFd<'_>> = fds.get(place);
        came.and_then(PollFd::any).unwrap_or(false)
    };
    if has(0) {
        return Ok(Came::End);
    }
    if !has(1) {
        return Ok(Came::Nothing);
    }
    let mut keys = [0; 64];
    let count = input.lock().read(&mut keys)?;
    Ok(match keys.get(..count) {
        Some([]) | None => Came::End,
        Some(keys) => Came::Keys(keys.to_vec()),
    })
}
