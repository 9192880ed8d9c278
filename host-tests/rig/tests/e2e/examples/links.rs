//! Links between the pages, and from sources to the pages, lead to what is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use selvage_rig::envoy::repository;

/// Every file below `folder` that a person wrote, by its ending.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            files(&path, found);
        } else if name == "run"
            || [".md", ".rs", ".yaml", ".sh", ".html", ".js"].iter().any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
}

/// Whether a heading of this page has the anchor, as GitHub makes anchors of headings.
fn has_anchor(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    let mut code = false;
    text.lines().any(|line| {
        code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        let kept: String =
            kept.chars().filter(|&of| of.is_alphanumeric() || of == '-' || of == '_').collect();
        !code && heading.len() < line.len() && kept == anchor
    })
}

/// What is wrong with a link to `target` from a file in `folder`.
fn fault(folder: &Path, file: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let page = if path.is_empty() { file.to_owned() } else { folder.join(path) };
    let sound = page.exists() && (anchor.is_empty() || has_anchor(&page, anchor));
    (!sound).then(|| format!("{}: {target}", file.display()))
}

#[test]
fn every_link_to_a_page_leads_to_what_is_there() {
    let (mut found, mut faults, mut links) = (Vec::new(), Vec::new(), 0);
    files(repository(), &mut found);
    for file in &found {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let folder = file.parent().unwrap();
        if file.extension().is_some_and(|end| end == "md") {
            let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let below =
                text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, to)| to));
            for target in inline.chain(below).filter(|to| !to.contains("://") && !to.contains(' ')) {
                links += 1;
                faults.extend(fault(folder, file, target));
            }
        }
        // What comments and messages name: from the root, whatever stands around it.
        for rest in text.split("plugin/docs/").skip(1) {
            let end = rest.find(|of: char| !of.is_ascii_alphanumeric() && !"-._#".contains(of));
            let target = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            if target.contains(".md") {
                links += 1;
                faults.extend(fault(&repository().join("plugin/docs"), file, target));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links > 100, "{links}");
}
