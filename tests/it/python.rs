//! The Python package: built as in a fresh clone, installed, and tested against the real server.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{binary, peer, root, succeed};

/// A copy of the repository as a fresh clone has it, and the package installed from there.
pub(crate) struct Installed {
    dir: TempDir,
}

impl Installed {
    /// Everything the build needs is there already, at pinned versions: it fetches nothing.
    pub(crate) fn from_a_fresh_clone(options: &[&str]) -> Self {
        let installed = Self { dir: tempfile::tempdir().unwrap() };
        let list = "git ls-files --cached --others --exclude-standard -z client/python proto README.md";
        let copy = format!("{list} | xargs -0 cp --parents -t {}", installed.clone_dir().display());
        std::fs::create_dir(installed.clone_dir()).unwrap();
        succeed(Command::new("bash").args(["-e", "-o", "pipefail", "-c", &copy]).current_dir(root()));
        let pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"];
        succeed(
            installed
                .python()
                .args(pip)
                .arg("--prefix")
                .arg(installed.dir.path().join("prefix"))
                .args(options)
                .arg("client/python")
                .current_dir(installed.clone_dir()),
        );
        installed
    }

    fn clone_dir(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    fn package_dir(&self) -> PathBuf {
        self.clone_dir().join("client/python")
    }

    /// The interpreter with the pinned packages, which `tests/run` provides.
    fn python(&self) -> Command {
        let python = peer("DOWNLINK_PYTHON");
        assert!(python.is_file(), "{} is not there: run the tests with tests/run", python.display());
        let mut command = Command::new(python);
        command.current_dir(self.package_dir());
        command
    }

    /// The same with the installed package.
    pub(crate) fn python_with_the_package(&self) -> Command {
        let mut command = self.python();
        command.env("PYTHONPATH", self.site_packages()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn site_packages(&self) -> PathBuf {
        let lib = self.dir.path().join("prefix/lib");
        let python = std::fs::read_dir(&lib).unwrap().next().expect("a version of Python").unwrap();
        python.path().join("site-packages")
    }
}

/// The folder that a module comes from.
fn origin(command: &mut Command, module: &str, before: &str) -> PathBuf {
    let script = format!("{before}\nimport {module}\nprint({module}.__path__[0])");
    Path::new(succeed(command.args(["-c", &script])).trim()).to_owned()
}

#[test]
fn the_package_builds_in_a_fresh_clone_and_passes_its_tests() {
    let installed = Installed::from_a_fresh_clone(&[]);
    let site_packages = installed.site_packages();
    let from = origin(&mut installed.python_with_the_package(), "downlink.v1", "");
    assert_eq!(from, site_packages.join("downlink/v1"), "what is tested is what was installed");
    assert!(site_packages.join("downlink/py.typed").is_file());
    let mut pytest = installed.python_with_the_package();
    let said = succeed(pytest.args(["-m", "pytest"]).env("DOWNLINK_SERVER", binary("downlink-server")));
    println!("{said}");
    assert!(said.contains(" passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn the_package_can_be_edited_in_place() {
    let installed = Installed::from_a_fresh_clone(&["--editable"]);
    let begin = format!("import site; site.addsitedir({:?})", installed.site_packages());
    let from = origin(&mut installed.python(), "downlink.v1", &begin);
    assert_eq!(from, installed.package_dir().join("src/downlink/v1"));
}

#[test]
fn a_source_distribution_has_all_that_the_package_is_built_from() {
    let installed = Installed::from_a_fresh_clone(&[]);
    succeed(installed.python().args(["-m", "hatchling", "build", "--target", "sdist"]));
    let archive = std::fs::read_dir(installed.package_dir().join("dist")).unwrap().next().unwrap().unwrap();
    let target = installed.dir.path().join("from-archive");
    let pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"];
    succeed(installed.python().args(pip).arg("--target").arg(&target).arg(archive.path()));
    let mut python = installed.python();
    assert_eq!(origin(python.env("PYTHONPATH", &target), "downlink.v1", ""), target.join("downlink/v1"));
}

#[test]
fn the_package_passes_mypy_and_ruff() {
    let installed = Installed::from_a_fresh_clone(&[]);
    succeed(installed.python().args(["-m", "mypy", "--no-incremental"]));
    succeed(installed.python().args(["-m", "ruff", "check", "--no-cache"]));
    succeed(installed.python().args(["-m", "ruff", "format", "--check", "--no-cache"]));
}
