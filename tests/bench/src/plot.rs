//! Line plots with logarithmic axes, as SVG.

use std::fmt::Write as _;
use std::path::PathBuf;

use gatehouse_local::Error;

use crate::warm::{Kind, Measured, SIZES, size};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Colours that colour-blind people can distinguish (Okabe and Ito's palette).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// Writes plots if a folder is set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plots {
    /// The folder.
    pub(crate) folder: Option<PathBuf>,
}

struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Plots {
    /// Plots the own time of an event against the size of its body.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn latency(&self, measured: &[(&str, &Vec<Measured>)]) -> Result<(), Error> {
        let lines = measured.iter().map(|(name, by_size)| Line {
            name: (*name).to_owned(),
            points: SIZES
                .iter()
                .zip(by_size.iter())
                .map(|(&size, m)| (size as f64, m.own.median()))
                .filter(|point| !point.1.is_nan())
                .collect(),
        });
        self.write("latency.svg", "Own time of an event, median", "ms", &lines.collect::<Vec<_>>())
    }

    /// Plots the dollars for a million events against their size, and the prices of hosted gateways.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn cost(&self, gatehouse: &[(Kind, f64, f64, f64)], hosted: &[(&str, f64)]) -> Result<(), Error> {
        let of = |kind, name: &str| Line {
            name: name.to_owned(),
            points: gatehouse
                .iter()
                .filter(|event| event.0 == kind)
                .map(|&(_, bytes, dollars, _)| (bytes, dollars))
                .collect(),
        };
        let mut lines =
            vec![of(Kind::Gatehouse, "Gatehouse, Ada messages"), of(Kind::Report, "Gatehouse, Vapi reports")];
        let (first, last) = (SIZES[0] as f64, SIZES[SIZES.len() - 1] as f64);
        lines.extend(
            hosted.iter().map(|&(name, dollars)| Line {
                name: name.to_owned(),
                points: vec![(first, dollars), (last, dollars)],
            }),
        );
        self.write("cost.svg", "Dollars for a million events in a month", "dollars", &lines)
    }

    fn write(&self, file: &str, title: &str, unit: &str, lines: &[Line]) -> Result<(), Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        Ok(std::fs::write(folder.join(file), svg(title, unit, lines))?)
    }
}

/// The exponents of the powers of ten that enclose all values.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    ((low.log10() + 1e-9).floor() as i32, (high.log10() - 1e-9).ceil() as i32)
}

fn svg(title: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let (left, right) = (SIZES[0] as f64, SIZES[SIZES.len() - 1] as f64);
    let (low, high) = decades(points().map(|point| point.1));
    let x = |bytes: f64| LEFT + (bytes / left).log10() / (right / left).log10() * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        HEIGHT - BOTTOM - (value.log10() - f64::from(low)) / f64::from(high - low) * (HEIGHT - TOP - BOTTOM)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    let (end, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    // Writing to a string cannot fail.
    for power in low..=high {
        let (value, at) = (10_f64.powi(power), y(10_f64.powi(power)));
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for bytes in SIZES {
        let at = x(bytes as f64);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            size(bytes)
        );
    }
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\">{unit}, by the size of the body</text>", HEIGHT - 12.0);
    // Writes the name at the end of each line, without overlaps.
    let mut ends: Vec<(f64, usize)> =
        lines.iter().enumerate().filter_map(|(n, line)| Some((y(line.points.last()?.1), n))).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = TOP;
    for (at, n) in ends {
        let (Some(line), Some(colour)) = (lines.get(n), COLOURS.get(n % COLOURS.len())) else { continue };
        let path: Vec<String> =
            line.points.iter().map(|&(bytes, value)| format!("{:.1} {:.1}", x(bytes), y(value))).collect();
        let _ = writeln!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"));
        for &(bytes, value) in &line.points {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(bytes), y(value));
        }
        let text = at.max(free);
        free = text + 15.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            end + 8.0,
            text + 4.0,
            line.name
        );
    }
    out.push_str("</svg>\n");
    out
}
