//! Turns `proto/` into Rust with protox, so that no protoc is needed.

use std::path::PathBuf;
use std::{env, error::Error, fs};

const FILES: [&str; 7] = [
    "downlink/v1/errors.proto",
    "downlink/v1/types.proto",
    "downlink/v1/ingest_service.proto",
    "downlink/v1/query_service.proto",
    "downlink/v1/consumer_service.proto",
    "downlink/v1/log_service.proto",
    "downlink/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;

    // `file_descriptor_set_path` does nothing with `compile_fds`, hence by hand.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure().btree_map(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
