//! README's first five minutes, every command exactly as written.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::root;

/// Commands that are to be run, and commands that keep running while those after them do.
const RUN: &str = "```sh";
const RUN_IN_BACKGROUND: &str = "```sh background";
const END: &str = "```";
/// In the line before a block: the block is for people only.
const NOT_RUN: &str = "<!-- not run -->";

/// Where the server listens unless told otherwise.
const DEFAULT: &str = "127.0.0.1:50051";
/// The first time the release build has everything to compile.
const BUILD: Duration = Duration::from_secs(1_200);
const POLL: Duration = Duration::from_millis(50);

#[test]
fn the_first_five_minutes_work_as_written() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (background, commands) = blocks(&readme);
    assert!(!background.is_empty() && !commands.is_empty(), "README.md has nothing to run");
    let dir = copy_of_the_repository();
    // One instead of the other for a person; here at once, apart from each other.
    let places: Vec<_> = (0..background.len()).map(Place::of).collect();
    let start = |(block, place): (&String, &Place)| Group::start(block, &dir, place);
    let mut servers: Vec<_> = background.iter().zip(&places).map(start).collect();
    for (server, place) in servers.iter_mut().zip(&places) {
        server.wait_until_it_listens(place.address);
    }
    // One shell for all, as a person has: what is exported stays.
    let output = shell(&commands, &dir, &places[0]).output().expect("bash");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("NODE3000005"), "the commands said nothing of the tank:\n{out}");
    assert!(!err.contains("no event matches"), "a command found nothing:\n{err}");
    let tank = std::fs::read_to_string(dir.join("tank.csv")).expect("the export");
    // A header, and what tests/data/README.md says of the tank.
    assert_eq!(tank.lines().count(), 1 + 88);
}

/// What README.md says to run: in the background, and one after the other.
fn blocks(readme: &str) -> (Vec<String>, String) {
    let (mut background, mut commands) = (Vec::new(), String::new());
    let mut lines = readme.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        let is_block = line == RUN || line == RUN_IN_BACKGROUND;
        if is_block && before != NOT_RUN {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != END).collect();
            let block = block.join("\n") + "\n";
            if line == RUN { commands += &block } else { background.push(block) }
        }
        before = line;
    }
    (background, commands)
}

/// In one place and with the times of the files kept, so that only what has changed is compiled.
fn copy_of_the_repository() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let dir = test.ancestors().nth(3).expect("target directory").join("readme");
    let list = "git ls-files --cached --others --exclude-standard -z";
    let script = format!(
        "mkdir -p {dir}; find {dir} -mindepth 1 -maxdepth 1 ! -name target -exec rm -r {{}} +; \
         {list} | xargs -0 ls -d 2>/dev/null | xargs cp --parents --preserve=timestamps -t {dir}",
        dir = dir.display()
    );
    let copied = Command::new("bash").args(["-e", "-c", &script]).current_dir(root()).status();
    assert!(copied.expect("bash").success());
    dir
}

/// Where one of the servers is, and keeps its log.
struct Place {
    address: SocketAddr,
    data_dir: Option<String>,
}

impl Place {
    /// The default if it is free, for the first one.
    fn of(number: usize) -> Self {
        let anywhere = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listener = match number {
            0 => TcpListener::bind(DEFAULT).unwrap_or_else(|_taken| anywhere()),
            _ => anywhere(),
        };
        let address = listener.local_addr().expect("an address");
        let data_dir = (number > 0).then(|| format!("data-{number}"));
        Self { address, data_dir }
    }
}

fn shell(script: &str, dir: &Path, place: &Place) -> Command {
    let mut command = Command::new("bash");
    command.args(["-e", "-c", script]).current_dir(dir).stdin(Stdio::null());
    // A clone of one's own has its target directory inside.
    command.env_remove("CARGO_TARGET_DIR");
    command.env("DOWNLINK_HTTP_LISTEN", "127.0.0.1:0");
    // Tests leave the real source in peace.
    command.env("DOWNLINK_FEED_SERVER_URL", "http://127.0.0.1:9");
    let Place { address, data_dir } = place;
    if address.to_string() != DEFAULT {
        println!("{DEFAULT} is taken: using {address}");
        command.env("DOWNLINK_LISTEN", address.to_string()).env("DOWNLINK_URL", format!("http://{address}"));
    }
    if let Some(data_dir) = data_dir {
        command.env("DOWNLINK_DATA_DIR", data_dir);
    }
    command
}

/// A command with all the processes it starts.
struct Group(Child);

impl Group {
    fn start(script: &str, dir: &Path, place: &Place) -> Self {
        let mut command = shell(script, dir, place);
        Self(command.process_group(0).stdout(Stdio::null()).spawn().expect("bash"))
    }

    fn wait_until_it_listens(&mut self, address: SocketAddr) {
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert_eq!(self.0.try_wait().expect("a status"), None, "it ended");
            assert!(started.elapsed() < BUILD, "it does not listen");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn blocks_are_run_unless_marked() {
    let readme =
        "```sh background\nserve\n```\ntext\n```sh\none\ntwo\n```\n<!-- not run -->\n```sh\nthree\n```\n";
    assert_eq!(blocks(readme), (vec!["serve\n".to_owned()], "one\ntwo\n".to_owned()));
}
