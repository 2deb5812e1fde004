//! The terminal: takes it, draws on it, and gives it back whatever happens.

use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::Once;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::view::{Line, Tone};

/// Where the terminal does not say how large it is.
const SIZE: (u16, u16) = (80, 24);

/// What the viewer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    GoOn,
    End,
}

/// Whether there is a keyboard to listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Heard,
    None,
}

/// The taken terminal. Dropped, it is as it was before.
pub(super) struct Screen {
    out: Stdout,
    keys: Keys,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        give_back_before_panics();
        let keys = if io::stdin().is_terminal() { Keys::Heard } else { Keys::None };
        // From here on dropping gives everything back, also where only half of it could be taken.
        let mut screen = Screen { out: io::stdout(), keys };
        if keys == Keys::Heard {
            terminal::enable_raw_mode()?;
        }
        execute!(screen.out, EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let known = terminal::size().ok().filter(|(width, height)| *width > 0 && *height > 0);
        let (width, height) = known.unwrap_or(SIZE);
        (width.into(), height.into())
    }

    /// Draws over what is there, line by line, in one write: nothing is cleared first, so nothing flickers.
    pub(super) fn show(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(8_192);
        queue!(bytes, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(bytes, MoveTo(0, row))?;
            tone(&mut bytes, line.tone)?;
            queue!(bytes, Print(&line.text), SetAttribute(Attribute::Reset), ResetColor, Clear(ClearType::UntilNewLine))?;
        }
        queue!(bytes, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Waits for the next picture's turn, or for a key.
    pub(super) fn wait(&mut self, span: Duration) -> io::Result<Asked> {
        if self.keys == Keys::None {
            std::thread::sleep(span);
            return Ok(Asked::GoOn);
        }
        match key_or_end(span)? {
            Heard::Nothing => return Ok(Asked::GoOn),
            Heard::End => return Ok(Asked::End),
            Heard::Something => {}
        }
        // What is there may be no more than the beginning of a key, or several keys at once.
        while poll(Duration::ZERO)? {
            match read()? {
                Event::Key(key) if ends(key) => return Ok(Asked::End),
                // Another key, or another size: the next picture fits again.
                Event::Key(_)
                | Event::Resize(..)
                | Event::FocusGained
                | Event::FocusLost
                | Event::Mouse(_)
                | Event::Paste(_) => {}
            }
        }
        Ok(Asked::GoOn)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// What a keyboard says.
enum Heard {
    Nothing,
    Something,
    /// The terminal has been closed.
    End,
}

/// Waits for input. The terminal's library must not be asked once the terminal is closed: it reads the end of input for ever.
fn key_or_end(span: Duration) -> io::Result<Heard> {
    let stdin = io::stdin();
    let mut places = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) };
    match event::poll(&mut places, Some(&limit)) {
        Ok(0) | Err(Errno::INTR) => Ok(Heard::Nothing),
        Ok(_) if places[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => Ok(Heard::End),
        Ok(_) => Ok(Heard::Something),
        Err(error) => Err(error.into()),
    }
}

fn ends(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn tone(bytes: &mut Vec<u8>, tone: Tone) -> io::Result<()> {
    match tone {
        Tone::Title => queue!(bytes, SetAttribute(Attribute::Bold)),
        Tone::Plain => Ok(()),
        Tone::Faint => queue!(bytes, SetAttribute(Attribute::Dim)),
        Tone::Loss => queue!(bytes, SetForegroundColor(Color::Red)),
        Tone::Gain => queue!(bytes, SetForegroundColor(Color::Green)),
    }
}

/// Best effort: where the terminal is gone there is nothing to give back.
fn give_back() {
    let _ = execute!(io::stdout(), EndSynchronizedUpdate, ResetColor, Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

/// A panic's words must not be lost with the alternate screen.
fn give_back_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}
