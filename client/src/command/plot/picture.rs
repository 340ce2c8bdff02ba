//! Charts as a picture, one below the other: PNG or SVG.

use std::error::Error;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use downlink_client::Timestamp;
use downlink_client::time::rfc3339;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::chart::Chart;

const FONT: &str = "sans-serif";
/// How large a piece of time that stands alone is drawn.
const POINT: i32 = 3;

/// Writes the charts, in so many pixels, as what the file's name says.
pub(super) fn write(charts: &[Chart], (width, height): (u32, u32), path: &Path) -> anyhow::Result<()> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font is damaged"))?;
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => {
            let mut text = String::new();
            draw(SVGBackend::with_string(&mut text, (width, height)).into_drawing_area(), charts)?;
            text.into_bytes()
        }
        Some("png") => {
            let mut pixels = vec![0; width as usize * height as usize * 3];
            draw(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area(), charts)?;
            encode(&pixels, width, height)?
        }
        Some(_) | None => bail!("{} ends neither in .png nor in .svg", path.display()),
    };
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn encode(pixels: &[u8], width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn draw<B: DrawingBackend>(area: DrawingArea<B, Shift>, charts: &[Chart]) -> anyhow::Result<()>
where
    B::ErrorType: Error + Send + Sync + 'static,
{
    area.fill(&WHITE)?;
    for (part, chart) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
        draw_one(part, chart)?;
    }
    Ok(area.present()?)
}

/// The range of each piece as a band, the mean as a line over it; both end at holes. A piece between two holes is a
/// point in its range.
fn draw_one<B: DrawingBackend>(area: &DrawingArea<B, Shift>, chart: &Chart) -> anyhow::Result<()>
where
    B::ErrorType: Error + Send + Sync + 'static,
{
    let (low, high) = chart.span().context("there is nothing to draw")?;
    let margin = (high - low) * 0.05;
    let mut plot = ChartBuilder::on(area)
        .caption(&chart.title, (FONT, 22))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(chart.time.0..chart.time.1, low - margin..high + margin)?;
    let is_long = chart.time.1 - chart.time.0 > 2.0 * 86_400.0;
    plot.configure_mesh()
        .x_labels(8)
        .x_label_formatter(&|seconds| moment(*seconds, is_long))
        .label_style((FONT, 14))
        .light_line_style(WHITE)
        .draw()?;
    for run in chart.runs() {
        let at = |piece: &usize| chart.middle(*piece);
        let pieces = run.iter().filter_map(|piece| Some((at(piece), chart.pieces[*piece]?)));
        let means = pieces.clone().map(|(time, piece)| (time, piece.mean));
        if run.len() == 1 {
            let ranges = pieces.map(|(time, piece)| {
                PathElement::new([(time, piece.low), (time, piece.high)], BLUE.mix(0.4))
            });
            plot.draw_series(ranges)?;
            plot.draw_series(means.map(|mean| Circle::new(mean, POINT, BLUE.filled())))?;
            continue;
        }
        let above = pieces.clone().map(|(time, piece)| (time, piece.high));
        let below = pieces.rev().map(|(time, piece)| (time, piece.low));
        plot.draw_series([Polygon::new(above.chain(below).collect::<Vec<_>>(), BLUE.mix(0.2))])?;
        plot.draw_series(LineSeries::new(means, BLUE.stroke_width(2)))?;
    }
    Ok(())
}

/// A time as short as the axis allows: the day, or the time of day.
fn moment(seconds: f64, is_long: bool) -> String {
    let text = rfc3339(&Timestamp { seconds: seconds.floor() as i64, nanos: 0 });
    let part = if is_long { text.get(..10) } else { text.get(11..19) };
    part.unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::chart::Piece;
    use super::*;

    #[test]
    fn a_chart_becomes_what_the_file_is_called() {
        let piece = |n: u32| {
            (n != 7).then(|| Piece { low: f64::from(n), mean: f64::from(n) + 1.0, high: f64::from(n) + 2.0 })
        };
        let chart =
            Chart { title: "tank".to_owned(), time: (0.0, 3600.0), pieces: (0..20).map(piece).collect() };
        assert_eq!(chart.runs().iter().map(Vec::len).collect::<Vec<_>>(), [7, 12]);
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        write(std::slice::from_ref(&chart), (400, 200), &file("a.png")).unwrap();
        write(std::slice::from_ref(&chart), (400, 200), &file("a.svg")).unwrap();
        let decoded = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file("a.png")).unwrap()));
        let mut reader = decoded.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(
            pixels.as_chunks::<3>().0.iter().any(|[red, _, blue]| *blue > 200 && *red < 60),
            "a blue line"
        );
        assert!(std::fs::read_to_string(file("a.svg")).unwrap().contains("polyline"));
        let alone = Chart {
            pieces: vec![None, piece(1), None, piece(2)],
            title: "alone".to_owned(),
            ..chart.clone()
        };
        write(&[chart.clone(), alone], (400, 400), &file("b.svg")).unwrap();
        let both = std::fs::read_to_string(file("b.svg")).unwrap();
        assert_eq!(both.matches("<circle").count(), 2, "a piece that stands alone is a point");
        assert!(both.contains("tank") && both.contains("alone") && both.contains("polyline"));
        assert!(write(std::slice::from_ref(&chart), (400, 200), &file("a.gif")).is_err());
    }
}
