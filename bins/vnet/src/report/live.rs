//! The live view: progress on a terminal, redrawn in place.

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::Duration;

use super::html::number;
use super::model::Rates;

/// How many samples of throughput the line of bars shows.
const BARS: usize = 48;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How often throughput is printed where nothing can be redrawn.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// Progress lines on a terminal, or plain lines where there is none.
///
/// Events scroll by; below them stand the phase, the throughput and what was
/// inferred, always as of now.
#[derive(Debug)]
pub(crate) struct Live<W> {
    out: W,
    redraws: bool,
    phase: String,
    inferred: Option<String>,
    history: Vec<f64>,
    rates: Option<Rates>,
    drawn: usize,
    printed: Option<Duration>,
}

impl Live<Stderr> {
    /// A view on standard error, so that standard output is the program's result alone.
    pub(crate) fn stderr() -> Self {
        let out = io::stderr();
        let redraws = out.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self::new(out, redraws)
    }
}

impl<W: Write> Live<W> {
    /// A view on `out`, which understands the escape sequences of ECMA-48 if `redraws`.
    pub(crate) fn new(out: W, redraws: bool) -> Self {
        Self {
            out,
            redraws,
            phase: String::new(),
            inferred: None,
            history: Vec::new(),
            rates: None,
            drawn: 0,
            printed: None,
        }
    }

    /// A phase begins.
    pub(crate) fn phase(&mut self, at: Duration, phase: &str) -> io::Result<()> {
        phase.clone_into(&mut self.phase);
        match self.redraws {
            true => self.redraw(at, None),
            false => self.line(at, &format!("phase: {phase}")),
        }
    }

    /// The application's topology has this name now.
    pub(crate) fn inferred(&mut self, at: Duration, name: &str) -> io::Result<()> {
        self.inferred = Some(name.to_owned());
        match self.redraws {
            true => self.redraw(at, None),
            false => self.line(at, &format!("inferred topology: {name}")),
        }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, at: Duration, text: &str) -> io::Result<()> {
        match self.redraws {
            true => self.redraw(at, Some(text)),
            false => self.line(at, text),
        }
    }

    /// The application runs this fast now.
    pub(crate) fn throughput(&mut self, at: Duration, rates: Rates) -> io::Result<()> {
        self.rates = Some(rates);
        self.history.push(rates.iterations_per_s);
        let extra = self.history.len().saturating_sub(BARS);
        self.history.drain(..extra);
        if self.redraws {
            return self.redraw(at, None);
        }
        if self.printed.is_some_and(|printed| at < printed + PLAIN_INTERVAL) {
            return Ok(());
        }
        self.printed = Some(at);
        self.line(at, &rates_text(rates))
    }

    /// Clears the lines that are redrawn; what comes next on the terminal follows the events.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let text = self.erasure();
        self.drawn = 0;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn line(&mut self, at: Duration, text: &str) -> io::Result<()> {
        writeln!(self.out, "{:>6.2} s  {}", at.as_secs_f64(), one_line(text))?;
        self.out.flush()
    }

    /// Draws everything anew, below a further event if there is one. Lines
    /// that are too long for the terminal end at its edge: without that the
    /// number of lines to go back over would not be known.
    fn redraw(&mut self, at: Duration, event: Option<&str>) -> io::Result<()> {
        let mut text = self.erasure();
        text += "\x1b[?7l";
        if let Some(event) = event {
            text += &format!("{:>6.2} s  {}\r\n", at.as_secs_f64(), one_line(event));
        }
        let lines = self.status(at);
        for line in &lines {
            text += line;
            text += "\r\n";
        }
        text += "\x1b[?7h";
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Goes to the start of what was drawn and erases from there.
    fn erasure(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    fn status(&self, at: Duration) -> Vec<String> {
        let inferred = self.inferred.as_deref().unwrap_or("nothing yet");
        let mut lines = vec![format!(
            "\x1b[2m{:>6.2} s\x1b[0m  \x1b[1m{}\x1b[0m   topology: \x1b[1m{}\x1b[0m",
            at.as_secs_f64(),
            one_line(&self.phase),
            one_line(inferred)
        )];
        if let Some(rates) = self.rates {
            lines.push(format!("          \x1b[36m{}\x1b[0m  {}", bars(&self.history), rates_text(rates)));
        }
        lines
    }
}

fn rates_text(rates: Rates) -> String {
    format!("{} iterations/s  {} Mbit/s", number(rates.iterations_per_s), number(rates.mbit_per_s))
}

/// Values as bars, the greatest as high as a line.
fn bars(values: &[f64]) -> String {
    let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let bar = |value: &f64| match *value / most {
        share if share.is_finite() => BLOCKS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1],
        _ => BLOCKS[0],
    };
    let bars: String = values.iter().map(bar).collect();
    format!("{bars:<BARS$}")
}

/// Without anything that would move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal that is high enough shows after these bytes.
    fn screen(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0);
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => column = 0,
                '\n' => {
                    row += 1;
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    match (&rest[1..end], &rest[end..=end]) {
                        (up, "A") => row -= up.parse::<usize>().unwrap(),
                        ("", "J") => {
                            lines.truncate(row + 1);
                            lines[row].truncate(column);
                        }
                        (_, "m") | ("?7", "l" | "h") => {}
                        other => panic!("unknown sequence {other:?}"),
                    }
                    rest = &rest[end + 1..];
                }
                c => {
                    let line: &mut Vec<char> = &mut lines[row];
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = c;
                    column += 1;
                }
            }
        }
        lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
    }

    fn seconds(at: f64) -> Duration {
        Duration::from_secs_f64(at)
    }

    fn rates(iterations_per_s: f64) -> Rates {
        Rates { iterations_per_s, mbit_per_s: 2.0 * iterations_per_s }
    }

    fn play(redraws: bool, finish: bool) -> Vec<u8> {
        let mut live = Live::new(Vec::new(), redraws);
        live.event(seconds(0.0), "laboratory up").unwrap();
        live.phase(seconds(0.5), "star").unwrap();
        for i in 1..=20 {
            live.throughput(seconds(0.5 + f64::from(i) * 0.25), rates(f64::from(i))).unwrap();
        }
        live.inferred(seconds(6.0), "all-to-all").unwrap();
        live.event(seconds(6.1), "two\nlines\x1b[2J").unwrap();
        live.phase(seconds(6.2), "adapted").unwrap();
        if finish {
            live.finish().unwrap();
        }
        live.out
    }

    #[test]
    fn a_terminal_shows_events_and_below_them_the_state_as_of_now() {
        let lines = screen(&play(true, false));
        assert_eq!(
            lines,
            [
                "  0.00 s  laboratory up",
                "  6.10 s  two lines [2J",
                "  6.20 s  adapted   topology: all-to-all",
                "          ▁▁▂▂▂▃▃▄▄▄▅▅▆▆▆▇▇███                              20.0 iterations/s  40.0 Mbit/s",
                "",
            ]
        );
        let lines = screen(&play(true, true));
        assert_eq!(lines, ["  0.00 s  laboratory up", "  6.10 s  two lines [2J", ""]);
    }

    #[test]
    fn without_a_terminal_lines_follow_each_other_and_throughput_is_rare() {
        let text = String::from_utf8(play(false, true)).unwrap();
        assert!(!text.contains('\x1b'));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "  0.00 s  laboratory up",
                "  0.50 s  phase: star",
                "  0.75 s  1.00 iterations/s  2.00 Mbit/s",
                "  2.75 s  9.00 iterations/s  18.0 Mbit/s",
                "  4.75 s  17.0 iterations/s  34.0 Mbit/s",
                "  6.00 s  inferred topology: all-to-all",
                "  6.10 s  two lines [2J",
                "  6.20 s  phase: adapted",
            ]
        );
    }

    #[test]
    fn bars_keep_their_width_and_stand_any_value() {
        for values in [&[][..], &[0.0, 0.0], &[f64::NAN, 1.0, f64::INFINITY], &[3.0; BARS]] {
            assert_eq!(bars(values).chars().count(), BARS, "{values:?}");
        }
        assert!(bars(&[1.0, 8.0]).starts_with("▁█"));
        let mut live = Live::new(Vec::new(), false);
        for i in 0..200 {
            live.throughput(seconds(f64::from(i)), rates(1.0)).unwrap();
        }
        assert_eq!(live.history.len(), BARS);
    }
}
