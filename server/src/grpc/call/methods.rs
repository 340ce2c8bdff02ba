//! What there is of the API, as its descriptions say: its calls, the values of its enumerations.

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

/// The methods of a descriptor set, each with its path: "service/method".
pub(crate) fn methods(described: &[u8]) -> Vec<(String, MethodDescriptorProto)> {
    let mut methods = Vec::new();
    for file in decoded(described).file {
        let package = file.package().to_owned();
        for service in file.service {
            let path = |method: &str| format!("{package}.{}/{method}", service.name());
            methods.extend(service.method.iter().map(|method| (path(method.name()), method.clone())));
        }
    }
    methods
}

/// The numbers of an enumeration.
pub(super) fn values(described: &[u8], name: &str) -> Vec<i32> {
    let enumerations = decoded(described).file.into_iter().flat_map(|file| file.enum_type);
    let found = enumerations.filter(|enumeration| enumeration.name() == name);
    found.flat_map(|enumeration| enumeration.value).map(|value| value.number()).collect()
}

fn decoded(described: &[u8]) -> FileDescriptorSet {
    FileDescriptorSet::decode(described).expect("it is made with the code")
}
