//! A chart of Braille dots: two by four of them in each character.

use super::chart::{Chart, Piece};
use downlink_client::Timestamp;
use downlink_client::time::rfc3339;

/// The bits of the dots in a Braille character, by row and column: the Unicode Standard, chapter 21.1.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
const BLANK: u32 = 0x2800;

/// The chart in so many characters, axes included; empty without any value.
pub(super) fn draw(chart: &Chart, width: usize, height: usize) -> String {
    let Some((low, high)) = chart.span() else { return String::new() };
    let labels = [high, (low + high) / 2.0, low].map(label);
    let margin = labels.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    let mut canvas = Canvas::new(width.saturating_sub(margin + 3).max(10), height.saturating_sub(3).max(3));
    canvas.plot(chart, low, high);

    let mut text = format!("{}\n", chart.title);
    let (middle, last) = (canvas.rows() / 2, canvas.rows() - 1);
    for row in 0..canvas.rows() {
        let label = if row == 0 {
            &labels[0]
        } else if row == last {
            &labels[2]
        } else if row == middle {
            &labels[1]
        } else {
            ""
        };
        text.push_str(&format!("{label:>margin$} ┤{}\n", canvas.line(row)));
    }
    let (from, to) = (moment(chart.time.0), moment(chart.time.1));
    let gap = (canvas.columns() + 1).saturating_sub(from.len() + to.len()).max(1);
    text.push_str(&format!("{:margin$}  {from}{}{to}\n", "", " ".repeat(gap)));
    text
}

fn label(value: f64) -> String {
    let shown = format!("{value:.4}");
    let short = shown.trim_end_matches('0').trim_end_matches('.');
    if value != 0.0 && (value.abs() >= 1e9 || value.abs() < 1e-3) {
        format!("{value:.3e}")
    } else {
        short.to_owned()
    }
}

fn moment(seconds: f64) -> String {
    rfc3339(&Timestamp { seconds: seconds.floor() as i64, nanos: 0 })
}

/// Dots, row by row.
struct Canvas {
    cells: Vec<Vec<u32>>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Self { cells: vec![vec![BLANK; columns]; rows] }
    }

    fn rows(&self) -> usize {
        self.cells.len()
    }

    fn columns(&self) -> usize {
        self.cells[0].len()
    }

    fn line(&self, row: usize) -> String {
        self.cells[row].iter().filter_map(|cell| char::from_u32(*cell)).collect()
    }

    fn dot(&mut self, x: usize, y: usize) {
        self.cells[y / 4][x / 2] |= DOTS[y % 4][x % 2];
    }

    /// Each piece as a line from its least to its greatest value, and on to where the one before it was.
    fn plot(&mut self, chart: &Chart, low: f64, high: f64) {
        let (width, height) = (self.columns() * 2, self.rows() * 4);
        let y = |value: f64| ((high - value) / (high - low) * (height - 1) as f64).round() as usize;
        let x = |piece: usize| piece * width / chart.pieces.len();
        let mut before: Option<Piece> = None;
        for (number, piece) in chart.pieces.iter().enumerate() {
            if let Some(Piece { low, high, mean }) = piece {
                let joined = before.map_or(*mean, |before| before.mean);
                let (top, bottom) = (y(high.max(joined)), y(low.min(joined)));
                (top..=bottom).for_each(|row| self.dot(x(number), row));
                (x(number)..x(number + 1)).for_each(|column| self.dot(column, y(*mean)));
            }
            before = *piece;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[Option<f64>]) -> Chart {
        let piece = |value: &Option<f64>| value.map(|mean| Piece { low: mean, mean, high: mean });
        Chart { title: "t".to_owned(), time: (0.0, 60.0), pieces: values.iter().map(piece).collect() }
    }

    #[test]
    fn a_rise_goes_from_the_lower_left_to_the_upper_right_and_a_hole_stays_one() {
        let rise: Vec<_> = (0..20).map(|n| (n != 10).then_some(f64::from(n))).collect();
        let text = draw(&chart(&rise), 16, 6);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].starts_with(" 19 ┤") && lines[3].starts_with("  0 ┤"), "{text}");
        let dots = |line: &str| line.chars().skip(5).map(|dot| dot != '⠀').collect::<Vec<_>>();
        assert!(dots(lines[1])[9] && !dots(lines[1])[0] && dots(lines[3])[0] && !dots(lines[3])[9], "{text}");
        assert!(lines[4].contains("1970-01-01T00:00:00Z") && lines[4].ends_with("1970-01-01T00:01:00Z"));
    }

    #[test]
    fn a_level_line_has_room_above_and_below() {
        assert!(draw(&chart(&[Some(5.0); 4]), 40, 8).contains("5.05 ┤"));
        assert_eq!(draw(&chart(&[None; 4]), 40, 8), "");
    }
}
