//! The file that an attempt sends as its body.

use std::path::Path;
use std::sync::Arc;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits::QUOTE_BYTES_MAX;
use overlapped_proto::outcome::Failure;
use overlapped_proto::sanitize;
use rustix::io::Errno;

use super::Attempt;
use crate::fs::{UploadFile, is_out_of_files, out_of_files};
use crate::locality::Locality;
use crate::net::request::BodyFile;

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    /// The file whose content is the body of the request, opened.
    ///
    /// # Errors
    ///
    /// `input.body`: the run allows no files of rows, or it cannot be opened, or is no plain file. `resource`: no more files can be
    /// opened.
    pub(super) async fn body_file(&self) -> Result<Option<UploadFile>, Failure> {
        let plan = &self.requester.plan;
        let path = match plan.template.body_file_of(self.job) {
            None => return Ok(None),
            Some(BodyFile::Open(file)) => return Ok(Some(file.clone())),
            Some(BodyFile::Named(path)) => path,
        };
        let told = |what: &str| {
            format!("body_file {}: {what}", sanitize::quote_name(path.as_bytes(), QUOTE_BYTES_MAX))
        };
        let Some(folder) = &plan.body_dir else {
            let what = "rows may not name files to send: --body-dir DIR allows those beneath a directory";
            return Err(Failure::new(ErrorKind::InputBody, told(what)));
        };
        let (folder, name, last_files) = (Arc::clone(folder), path.to_owned(), Arc::clone(&plan.last_files));
        let opened = self.requester.views.disk.submit(move || {
            let file = UploadFile::beneath(&folder, Path::new(&name))?;
            if file.files().all(|file| last_files.spare_body(file)) { Ok(file) } else { Err(out_of_files()) }
        });
        let opened = opened.await.map_err(|error| Failure::new(ErrorKind::Resource, error.to_string()))?;
        self.requester.stamp();
        opened.map(Some).map_err(|error| {
            let kind = if is_out_of_files(&error) { ErrorKind::Resource } else { ErrorKind::InputBody };
            let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
            let told = match is(Errno::LOOP) || is(Errno::NOTDIR) {
                true => told("a symbolic link is on the way, which is not followed, or something else that is no directory"),
                false => told(&error.to_string()),
            };
            Failure::new(kind, told)
        })
    }
}
