//! What the public listener serves: all surfaces in one document.

use utoipa::openapi::{OpenApi, Server};

use super::Undescribed;

/// The operations of both. Those of the ECG surface are at the root only, whatever other base the first document names.
pub(super) fn together(slipstream: OpenApi, ecg: OpenApi) -> Result<OpenApi, Undescribed> {
    let mut all = slipstream;
    for (path, mut item) in ecg.paths.paths {
        item.servers = Some(vec![Server::new("/")]);
        all.paths.paths.insert(path, item);
    }
    all.tags.get_or_insert_default().extend(ecg.tags.unwrap_or_default());
    let (components, others) = (all.components.get_or_insert_default(), ecg.components.unwrap_or_default());
    for (name, schema) in others.schemas {
        if components.schemas.get(&name).is_some_and(|there| *there != schema) {
            return Err(Undescribed::Ambiguous(name));
        }
        components.schemas.insert(name, schema);
    }
    // Both take them from the same list.
    components.headers.extend(others.headers);
    components.security_schemes.extend(others.security_schemes);
    Ok(all)
}
