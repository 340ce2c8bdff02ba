//! Tables for people: aligned columns, made to fit the terminal, coloured where that says something.

use anstyle::Style;

use super::style;

/// Narrower than this no text is cut.
const TEXT_MIN: usize = 8;
/// Blanks between columns.
const GAP: usize = 2;
/// As much of a time as is left when there is little room: to the millisecond.
const BRIEF_TIME: usize = "2018-10-12T11:42:08.123".len();
/// The same for numbers, in characters.
const BRIEF_NUMBER: usize = 8;

/// A column's title, and what may happen to it on a narrow terminal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'a> {
    /// It stays whole.
    Whole(&'a str),
    /// Times in RFC 3339, which lose what is below the millisecond.
    Time(&'a str),
    /// Text that is cut, and numbers that lose digits before that.
    Text(&'a str),
}

impl<'a> Column<'a> {
    const fn title(self) -> &'a str {
        match self {
            Self::Whole(title) | Self::Time(title) | Self::Text(title) => title,
        }
    }
}

/// What a table says in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a style.
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Style::new())
    }
}

/// Where a table is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surface {
    /// How wide it is; a pipe takes everything.
    pub(super) width: Option<usize>,
    /// Whether it shows colours.
    pub(super) is_coloured: bool,
}

impl Surface {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        let width = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Self { width, is_coloured: style::is_wanted() }
    }
}

/// The lines of a table, its head first. Each row has as many cells as there are columns.
pub(super) fn lines<R: AsRef<[Cell]>>(columns: &[Column<'_>], rows: &[R], surface: Surface) -> String {
    let mut cells: Vec<Vec<Cell>> = rows.iter().map(|row| row.as_ref().to_vec()).collect();
    cells.insert(0, columns.iter().map(|column| Cell::new(column.title(), style::HEADER)).collect());
    let mut widths = widths(&cells, columns.len());
    if let Some(width) = surface.width {
        if total(&widths) > width {
            shorten(columns, &mut cells);
            widths = self::widths(&cells, columns.len());
        }
        narrow(columns, &mut widths, width);
    }
    let mut text = String::new();
    for row in &cells {
        push_row(&mut text, row, &widths, surface.is_coloured);
    }
    text
}

fn widths(rows: &[Vec<Cell>], columns: usize) -> Vec<usize> {
    (0..columns).map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or_default()).collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Says times and numbers in fewer digits.
fn shorten(columns: &[Column<'_>], rows: &mut [Vec<Cell>]) {
    for (place, column) in columns.iter().enumerate() {
        for text in rows.iter_mut().map(|row| &mut row[place].text) {
            match column {
                Column::Whole(_) => {}
                Column::Time(_) => shorten_time(text),
                Column::Text(_) => shorten_number(text),
            }
        }
    }
}

fn shorten_time(text: &mut String) {
    if text.len() > BRIEF_TIME + 1 && text.ends_with('Z') && text.is_char_boundary(BRIEF_TIME) {
        text.truncate(BRIEF_TIME);
        text.push('Z');
    }
}

/// A number with a fraction, and what stands behind it, such as a unit.
fn shorten_number(text: &mut String) {
    let (number, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    if number.len() <= BRIEF_NUMBER || !number.contains('.') || number.contains(char::is_alphabetic) {
        return;
    }
    let Ok(value) = number.parse::<f64>() else { return };
    let whole = number.find('.').unwrap_or_default();
    let rounded = format!("{value:.*}", BRIEF_NUMBER.saturating_sub(whole + 1));
    let digits = rounded.trim_end_matches('0').trim_end_matches('.');
    // So small a number would look like none.
    if digits.contains(|digit| matches!(digit, '1'..='9')) {
        *text = format!("{digits}{rest}");
    }
}

/// Takes from the widest text, character by character, what is too much.
fn narrow(columns: &[Column<'_>], widths: &mut [usize], width: usize) {
    for _ in width..total(widths) {
        let texts =
            columns.iter().zip(widths.iter_mut()).filter(|(column, _)| matches!(column, Column::Text(_)));
        let widest = texts.map(|(_, width)| width).max().filter(|width| **width > TEXT_MIN);
        let Some(widest) = widest else { return };
        *widest -= 1;
    }
}

fn push_row(text: &mut String, row: &[Cell], widths: &[usize], is_coloured: bool) {
    let last = row.iter().rposition(|cell| !cell.text.is_empty());
    for (place, (cell, width)) in row.iter().zip(widths).enumerate().take(last.map_or(0, |last| last + 1)) {
        let cut: String = match cell.width() > *width {
            true => cell.text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
            false => cell.text.clone(),
        };
        let padding = if Some(place) == last { 0 } else { width - cut.chars().count() + GAP };
        if is_coloured {
            style::push(text, &cut, cell.style);
        } else {
            text.push_str(&cut);
        }
        // Not by a format's width, which ends at 65,535.
        text.extend(std::iter::repeat_n(' ', padding));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<'_>; 3] = [Column::Whole("SIGNAL"), Column::Time("TIME"), Column::Text("VALUE")];

    fn row(value: &str) -> [Cell; 3] {
        [Cell::new("tank", style::BAD), "2018-10-12T11:42:08.123456789Z".into(), value.into()]
    }

    #[test]
    fn a_pipe_takes_everything() {
        let text = lines(&COLUMNS, &[row(&"x".repeat(100)), row("")], Surface::default());
        let expected = format!(
            "SIGNAL  TIME                            VALUE\n\
             tank    2018-10-12T11:42:08.123456789Z  {}\n\
             tank    2018-10-12T11:42:08.123456789Z\n",
            "x".repeat(100)
        );
        assert_eq!(text, expected);
        let long = lines(&COLUMNS, &[row(&"x".repeat(1 << 20)), row("y")], Surface::default());
        assert!(long.len() > 1 << 20);
    }

    #[test]
    fn a_narrow_terminal_gets_brief_times_and_cut_text() {
        let narrow = |width| Surface { width: Some(width), is_coloured: false };
        let text = lines(&COLUMNS, &[row("0123456789abcdef")], narrow(45));
        assert_eq!(text.lines().nth(1), Some("tank    2018-10-12T11:42:08.123Z  0123456789…"));
        let text = lines(&COLUMNS, &[row("0123456789abcdef")], narrow(10));
        assert_eq!(
            text.lines().nth(1),
            Some("tank    2018-10-12T11:42:08.123Z  0123456…"),
            "not below the least"
        );
        let text = lines(&COLUMNS, &[row("0")], narrow(80));
        assert_eq!(text.lines().nth(1), Some("tank    2018-10-12T11:42:08.123456789Z  0"));
    }

    #[test]
    fn numbers_lose_digits_before_they_are_cut() {
        for (text, brief) in [
            ("61.27000045776367 %", "61.27 %"),
            ("-20.63157894736842", "-20.6316"),
            ("1223376918.123", "1223376918"),
            ("0.000000012345678", "0.000000012345678"),
            ("12", "12"),
            ("\"a.b 123456789\"", "\"a.b 123456789\""),
        ] {
            let mut shortened = text.to_owned();
            shorten_number(&mut shortened);
            assert_eq!(shortened, brief);
        }
    }

    #[test]
    fn colours_take_no_room() {
        let surface = Surface { width: None, is_coloured: true };
        let text = lines(&COLUMNS, &[row("1")], surface);
        assert!(text.contains("\x1b[31mtank\x1b[0m    2018"), "{text:?}");
    }
}
