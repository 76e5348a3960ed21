//! On what kind of file system the data lies: on one in memory a sync costs nothing, and the figures mislead.

use std::path::Path;

/// The type of the file system that holds `path`, such as `ext4`; empty if it cannot be found out.
pub(crate) fn filesystem_of(path: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    find(&mounts, &path).unwrap_or_default().to_owned()
}

/// The deepest mount above `path`; the last of several on one place covers the others.
fn find<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let parsed = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    parsed.filter(|(place, _)| path.starts_with(place)).max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/a /tmp/b ext4 rw 0 0\n";
        assert_eq!(find(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(find(mounts, Path::new("/tmp/b/c")), Some("ext4"));
        assert_eq!(find(mounts, Path::new("/tmpx")), Some("overlay"));
        assert_eq!(find("", Path::new("/")), None);
    }
}
