//! What a client asks: the name of a request in the first line of a message, and parameters in each further one.

use std::collections::HashMap;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Such as `create_session`.
    pub(super) name: String,
    parameters: HashMap<String, String>,
}

impl Request {
    /// The requests of a message: it has one for each line of parameters, and one at least.
    pub(super) fn all_in(message: &str) -> Vec<Self> {
        let mut lines = message.lines().map(str::trim_end);
        let name = lines.next().unwrap_or_default().to_owned();
        let request = |line: &str| Self { name: name.clone(), parameters: parameters(line) };
        let mut requests: Vec<_> = lines.filter(|line| !line.is_empty()).map(request).collect();
        if requests.is_empty() {
            requests.push(request(""));
        }
        requests
    }

    /// A parameter, or nothing where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// A parameter that is a number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }
}

fn parameters(line: &str) -> HashMap<String, String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = line.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

#[test]
fn a_message_is_a_name_and_lines_of_parameters() {
    let [first, second] = &Request::all_in("control\r\nLS_op=add&LS_group=A%20B\r\nLS_subId=2\r\n")[..]
    else {
        panic!("two lines, two requests");
    };
    assert_eq!((&*first.name, first.text("LS_op"), first.text("LS_group")), ("control", "add", "A B"));
    assert_eq!((&*second.name, second.number("LS_subId")), ("control", Some(2)));
    assert_eq!(Request::all_in("wsok"), [Request { name: "wsok".to_owned(), ..Request::default() }]);
}
