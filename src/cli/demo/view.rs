//! The demo's picture: a pure function of a snapshot and a size to lines of text.

use std::time::Duration;

use super::tally::{News, Sentence, Snapshot, Stage};
use super::trials::Trial;
use crate::terminal::plain;
use crate::time::Span;

/// What came of offers is shown on terminals of so many lines.
const ROOM_FOR_TRIALS: usize = 28;

/// How a line is meant; the screen gives it a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Title,
    Plain,
    Faint,
    Loss,
    Gain,
}

/// A line of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// What stays the same while the demo runs, and how long it still does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) model: &'a str,
    pub(super) customers: u32,
    pub(super) speed: f64,
    pub(super) left: Option<Duration>,
}

/// The whole picture, never wider or higher than the terminal.
pub(super) fn picture(header: &Header<'_>, snapshot: &Snapshot, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![line_of(Tone::Title, title(header)), blank()];
    lines.extend(funnel(&snapshot.stages, width));
    lines.push(blank());
    lines.extend(figures(snapshot, header.speed));
    lines.push(blank());
    // Three lines less of the latest are three too many on a low terminal.
    if height >= ROOM_FOR_TRIALS {
        lines.extend(snapshot.trials.iter().map(|trial| line_of(Tone::Plain, tried(trial))));
        lines.push(blank());
    }
    lines.push(line_of(Tone::Faint, "latest abandonments and recoveries, by the customers' clock".to_owned()));
    let room = height.saturating_sub(lines.len() + 1);
    let told = snapshot.latest.iter().take(room).map(|told| {
        let tone = match told.news {
            News::Bad => Tone::Loss,
            News::Good => Tone::Gain,
        };
        line_of(tone, sentence(told))
    });
    lines.extend(told);
    // Without its last lines first: the help is worth more than the oldest sentence.
    lines.truncate(height.saturating_sub(1));
    while lines.len() + 1 < height {
        lines.push(blank());
    }
    lines.push(line_of(Tone::Faint, help(header.left)));
    for line in &mut lines {
        line.text = cut(&plain(&line.text), width);
    }
    lines.truncate(height);
    lines
}

/// `Sillage · five-stages · 3,000 customers · 1 s shows 20m`
pub(super) fn title(header: &Header<'_>) -> String {
    let a_second = Span::from_millis((header.speed * 1e3) as i64);
    format!("Sillage · {} · {} customers · 1 s shows {a_second}", header.model, grouped(header.customers.into()))
}

fn help(left: Option<Duration>) -> String {
    match left {
        Some(left) => format!("q or ctrl-C ends · ends by itself in {} s", left.as_secs_f64().ceil()),
        None => "q or ctrl-C ends".to_owned(),
    }
}

/// A row for every stage: how many stand there (full) of how many have been there (light).
fn funnel(stages: &[Stage], width: usize) -> Vec<Line> {
    let names = stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0).max("stage".len());
    // Two numbers of eight, and the gaps between the columns.
    let bar = width.saturating_sub(names + 2 + 2 * (8 + 1) + 2).min(100);
    let most = stages.iter().map(|stage| stage.reached).max().unwrap_or(0).max(1);
    let head = format!("{:<names$}  {:>8} {:>8}", "stage", "now", "reached");
    let mut lines = vec![line_of(Tone::Faint, head)];
    for stage in stages {
        let long = |number: u64| (number.min(most) as usize * bar).div_ceil(most as usize);
        let (full, all) = (long(stage.population), long(stage.reached.max(stage.population)));
        let [now, reached] = [stage.population, stage.reached].map(grouped);
        let bars = format!("{}{}", "█".repeat(full), "░".repeat(all - full));
        lines.push(line_of(Tone::Plain, format!("{:<names$}  {now:>8} {reached:>8}  {bars}", stage.name)));
    }
    lines
}

fn figures(snapshot: &Snapshot, speed: f64) -> Vec<Line> {
    let Snapshot { counts, rates, .. } = snapshot;
    let row = |tone, name: &str, total: u64, rate: f64, more: String| {
        line_of(tone, format!("{name:<13} {:>8}  {rate:>7.1}/s  {more}", grouped(total)))
    };
    vec![
        row(Tone::Plain, "touchpoints", counts.touchpoints, rates.touchpoints, behind(snapshot, speed)),
        row(Tone::Plain, "transitions", counts.transitions, rates.transitions, String::new()),
        row(
            Tone::Loss,
            "abandonments",
            counts.abandonments,
            rates.abandonments,
            format!("baskets worth {} left behind", euros(snapshot.at_stake)),
        ),
        row(
            Tone::Gain,
            "recoveries",
            counts.recoveries,
            rates.recoveries,
            format!("of these, {} bought after all", euros(snapshot.recovered)),
        ),
    ]
}

/// `rescue-chat      2,312 offered: 45.2 % bought · 235 held out: 25.5 % · difference +8.0 to +31.3 points`
fn tried(trial: &Trial) -> String {
    let Trial { name, offered, held_out, interval } = trial;
    let mut text = format!("{name:<13} {:>8} offered", grouped(offered.customers));
    if offered.customers > 0 {
        text += &format!(": {:.1} % bought", offered.percent());
    }
    text += &format!(" · {} held out", grouped(held_out.customers));
    if held_out.customers > 0 {
        text += &format!(": {:.1} %", held_out.percent());
    }
    match interval {
        Some((from, to)) => text += &format!(" · difference {from:+.1} to {to:+.1} points"),
        None => text += " · too few to say more",
    }
    text
}

/// In real seconds: nobody feels the customers' time.
fn behind(snapshot: &Snapshot, speed: f64) -> String {
    match snapshot.behind {
        Some(behind) => format!("stream time {:.1} s behind", behind.as_millis() as f64 / 1e3 / speed),
        None => "stream time has not begun".to_owned(),
    }
}

/// `14:03:12  c-000123  abandons basket B123-1 (49.90 EUR) after 30m`
pub(super) fn sentence(told: &Sentence) -> String {
    let at = told.at.to_string();
    // Of 2026-11-22T10:00:00.000Z, the time of day.
    format!("{}  {:<8}  {}", at.get(11..19).unwrap_or(&at), plain(&told.who), plain(&told.words))
}

/// A line of counts, for where there is no terminal.
pub(super) fn line(snapshot: &Snapshot) -> String {
    let counts = &snapshot.counts;
    format!(
        "{:>4}s touchpoints {} · transitions {} ({:.1}/s) · abandonments {} ({:.1}/s) · recoveries {} · at stake {} · recovered {}",
        snapshot.elapsed.as_secs(),
        grouped(counts.touchpoints),
        grouped(counts.transitions),
        snapshot.rates.transitions,
        grouped(counts.abandonments),
        snapshot.rates.abandonments,
        grouped(counts.recoveries),
        euros(snapshot.at_stake),
        euros(snapshot.recovered),
    )
}

/// What it came to.
pub(super) fn summary(snapshot: &Snapshot, speed: f64) -> Vec<String> {
    let counts = &snapshot.counts;
    let lived = Span::from_secs((snapshot.elapsed.as_secs_f64() * speed) as i64);
    let mut lines = vec![
        format!("In {:.0} s the customers lived {lived}.", snapshot.elapsed.as_secs_f64()),
        format!("  touchpoints   {:>8}", grouped(counts.touchpoints)),
        format!("  transitions   {:>8}", grouped(counts.transitions)),
        format!("  completions   {:>8}", grouped(counts.completions)),
        format!(
            "  abandonments  {:>8}   baskets worth {} left behind",
            grouped(counts.abandonments),
            euros(snapshot.at_stake)
        ),
        format!("  friction      {:>8}", grouped(counts.frictions)),
        format!(
            "  offers        {:>8}   {} withdrawn; {} more held out for comparison",
            grouped(counts.offers),
            grouped(counts.withdrawals),
            grouped(counts.held_out)
        ),
        format!("  resumptions   {:>8}", grouped(counts.resumptions)),
        format!(
            "  recoveries    {:>8}   of these, {} bought after all",
            grouped(counts.recoveries),
            euros(snapshot.recovered)
        ),
    ];
    lines.extend(snapshot.trials.iter().map(|trial| format!("  {}", tried(trial))));
    lines
}

fn line_of(tone: Tone, text: String) -> Line {
    Line { text, tone }
}

fn blank() -> Line {
    line_of(Tone::Plain, String::new())
}

/// At most `width` characters; all of ours are one column wide.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.extend((width > 0).then_some('…'));
    cut
}

/// `12,345 EUR`: every price of the synthetic shop is in euros.
fn euros(micros: i64) -> String {
    format!("{} EUR", grouped(micros.max(0).unsigned_abs() / 1_000_000))
}

/// `12,345`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests;
