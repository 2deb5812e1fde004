//! The committed counts: a table for people and machine, one line a step, one column for each build.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Which build a count is of: instructions of one say nothing of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Build {
    Tests,
    Release,
}

impl Build {
    pub(crate) const ALL: [Build; 2] = [Build::Tests, Build::Release];

    /// That of this program.
    pub(crate) const fn this() -> Self {
        if cfg!(debug_assertions) { Build::Tests } else { Build::Release }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Build::Tests => "tests",
            Build::Release => "release",
        }
    }
}

/// A step may take so many per cent more than is committed.
pub(crate) const BOUND: u64 = 5;
/// A step that takes so many per cent less should be committed anew, or the bound holds nothing.
pub(crate) const LOOSE: u64 = 10;

/// What a count is beside the committed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    Above,
    /// Far below: the bound is loose.
    Below,
}

/// By how many per cent a count differs from the committed one, and what that means.
pub(crate) fn judge(count: u64, committed: u64) -> (f64, Verdict) {
    let change = (count as f64 / committed as f64 - 1.0) * 100.0;
    let verdict = if count * 100 > committed * (100 + BOUND) {
        Verdict::Above
    } else if count * 100 < committed * (100 - LOOSE) {
        Verdict::Below
    } else {
        Verdict::Within
    };
    (change, verdict)
}

/// Counts as they are committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// What each build was counted with.
    pub(crate) tools: BTreeMap<Build, String>,
    /// By step and build.
    pub(crate) counts: BTreeMap<(String, Build), u64>,
}

const HEAD: &str = "\
# How many instructions each step takes, by build. `make count` writes this file. A test fails where a step takes 5 % more.
";

impl Table {
    /// Reads what [`Table::write`] wrote.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut table = Table::default();
        for line in text.lines() {
            table.line(line).ok_or_else(|| format!("`{line}` cannot be read; `make count` writes the table anew"))?;
        }
        Ok(table)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        if let Some(comment) = line.strip_prefix('#') {
            for build in Build::ALL {
                if let Some(tools) = comment.trim().strip_prefix(build.name()).and_then(|rest| rest.strip_prefix(": ")) {
                    self.tools.insert(build, tools.to_owned());
                }
            }
            return Some(());
        }
        let mut cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let (Some(step), Some(_unit)) = (cells.next(), cells.next()) else { return line.is_empty().then_some(()) };
        for build in Build::ALL {
            let cell = cells.next()?;
            if cell != "-" && cell != build.name() {
                self.counts.insert((step.to_owned(), build), cell.parse().ok()?);
            }
        }
        Some(())
    }

    /// What is missing of these steps, and what is there of no step.
    pub(crate) fn misfits(&self, steps: &[(&str, &str)]) -> Vec<String> {
        let missing = steps.iter().flat_map(|(step, _)| Build::ALL.map(|build| ((*step).to_owned(), build)));
        let missing = missing.filter(|key| !self.counts.contains_key(key));
        let missing = missing.map(|(step, build)| format!("`{step}` has no count of the {} build", build.name()));
        let known = |name: &str| steps.iter().any(|(step, _)| *step == name);
        let strange = self.counts.keys().filter(|(step, _)| !known(step));
        let strange = strange.map(|(step, build)| format!("`{step}` ({}) is no step", build.name()));
        missing.chain(strange).collect()
    }

    /// The table of these steps, each with its unit; what it holds of other steps is left out.
    pub(crate) fn write(&self, steps: &[(&str, &str)]) -> String {
        let mut text = HEAD.to_owned();
        for (build, tools) in &self.tools {
            let _ = writeln!(text, "# {}: {tools}", build.name());
        }
        text.push('\n');
        let cells =
            |build: Build, step: &str| self.counts.get(&(step.to_owned(), build)).map_or("-".to_owned(), u64::to_string);
        let rows = steps.iter().map(|(step, unit)| (*step, *unit, Build::ALL.map(|build| cells(build, step))));
        let head = ("step", "instructions per", Build::ALL.map(|build| build.name().to_owned()));
        for (step, unit, [tests, release]) in std::iter::once(head).chain(rows) {
            let _ = writeln!(text, "{step:<20}  {unit:<16}  {tests:>8}  {release:>8}");
        }
        text
    }
}

/// The check is itself tried on what is wrong.
pub(crate) fn the_check_finds_what_is_wrong() {
    for (count, verdict) in [
        (10_000, Verdict::Within),
        (10_500, Verdict::Within),
        (10_501, Verdict::Above),
        (9_000, Verdict::Within),
        (8_999, Verdict::Below),
    ] {
        assert_eq!(judge(count, 10_000).1, verdict, "{count}");
    }
    let steps = [("open, a", "customer"), ("fire", "deadline")];
    let mut table = Table::default();
    assert_eq!(table.misfits(&steps).len(), 4);
    table.counts.insert(("fire".to_owned(), Build::Tests), 7);
    table.counts.insert(("fire".to_owned(), Build::Release), 5);
    table.counts.insert(("open, a".to_owned(), Build::Release), 3);
    table.tools.insert(Build::Release, "a compiler".to_owned());
    assert_eq!(table.misfits(&steps), ["`open, a` has no count of the tests build"]);
    assert_eq!(table.misfits(&steps[..1]).len(), 3, "fire is no step");
    assert_eq!(Table::read(&table.write(&steps)), Ok(table));
    assert!(Table::read("fire  deadline  7\n").is_err_and(|error| error.contains("make count")));
}
