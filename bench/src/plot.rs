//! Bars as an SVG: one group a load, one bar a system, CPU-s/M above and memory below. One file, no fonts or scripts from
//! elsewhere.

use std::fmt::Write;

/// A bar.
pub struct Bar {
    /// Whether it is the subject's.
    pub ours: bool,
    /// Beside it.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// The least and the greatest that were measured.
    pub range: (f64, f64),
}

/// Bars that share a scale.
pub struct Chart {
    /// Above them.
    pub title: String,
    /// Digits behind the point.
    pub digits: usize,
    /// From above to below.
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const LABELS: f64 = 210.0;
/// Room for the figure behind the longest bar.
const FIGURE: f64 = 130.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const TITLE: f64 = 34.0;
/// Ours, and everybody else's; both are read on light and on dark.
const COLOURS: [&str; 2] = ["#2a7f9e", "#9aa5b1"];

/// Draws charts below each other.
pub fn svg(charts: &[Chart]) -> String {
    let height: f64 = charts.iter().map(|chart| TITLE + STEP * chart.bars.len() as f64).sum::<f64>() + 12.0;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    );
    let mut y = 0.0;
    for chart in charts {
        let title = escaped(&chart.title);
        let _ = writeln!(out, "<text x=\"10\" y=\"{}\" font-weight=\"bold\" fill=\"#222222\">{title}</text>", y + 23.0);
        y += TITLE;
        let most = chart.bars.iter().map(|bar| bar.range.1).fold(f64::MIN_POSITIVE, f64::max);
        let across = |value: f64| (WIDTH - LABELS - FIGURE) * value / most;
        for bar in &chart.bars {
            let (middle, colour, label) = (y + BAR / 2.0, COLOURS[usize::from(!bar.ours)], escaped(&bar.label));
            let (least, greatest) = (LABELS + across(bar.range.0), LABELS + across(bar.range.1));
            let text = middle + 4.5;
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{text:.1}\" text-anchor=\"end\" fill=\"#222222\">{label}</text>\n\
                 <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
                 <path d=\"M{least:.1} {middle:.1}H{greatest:.1}\" stroke=\"#222222\"/>\n\
                 <text x=\"{:.1}\" y=\"{text:.1}\" fill=\"#222222\">{:.*}</text>",
                LABELS - 8.0,
                across(bar.value),
                greatest.max(LABELS + across(bar.value)) + 8.0,
                chart.digits,
                bar.value
            );
            y += STEP;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_leaves_room_for_its_figure() {
        let bar = |value: f64| Bar { ours: true, label: "a & b".to_owned(), value, range: (value, value) };
        let text = svg(&[Chart { title: "CPU".to_owned(), digits: 1, bars: vec![bar(2.0), bar(4.0)] }]);
        assert!(text.contains("width=\"420.0\"") && text.contains("width=\"210.0\""), "{text}");
        assert!(text.contains("a &amp; b") && text.contains(">4.0<") && text.ends_with("</svg>\n"), "{text}");
    }
}
