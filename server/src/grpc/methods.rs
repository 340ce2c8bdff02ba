//! The calls there are, as their descriptions say.

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

/// The methods of a descriptor set, each with its path: "service/method".
pub(crate) fn methods(described: &[u8]) -> Vec<(String, MethodDescriptorProto)> {
    let described = FileDescriptorSet::decode(described).expect("it is made with the code");
    let mut methods = Vec::new();
    for file in described.file {
        let package = file.package().to_owned();
        for service in file.service {
            let path = |method: &str| format!("{package}.{}/{method}", service.name());
            methods.extend(service.method.iter().map(|method| (path(method.name()), method.clone())));
        }
    }
    methods
}
