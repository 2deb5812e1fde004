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
        let head = ("step", "instructions a", Build::ALL.map(|build| build.name().to_owned()));
        for (step, unit, [tests, release]) in std::iter::once(head).chain(rows) {
            let _ = writeln!(text, "{step:<20}  {unit:<14}  {tests:>8}  {release:>8}");
        }
        text
    }
}
