//! The file system: open directories, plain files of one's own, files that are replaced as a whole, unnamed files, locks, and the limit on open files. No other
//! module calls the system about files in another way than `std::fs` does.
//!
//! What only Linux has is in `linux`; `portable` has the same functions for other Unix systems, with what POSIX has
//! instead. Tests on Linux run both.

mod continued;
mod upload_file;
mod whole;
mod own;
mod folder;
mod lock;
mod unnamed;
mod open_files;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

pub use continued::{Left, PartFile};
pub use folder::Moment;
pub(crate) use folder::{FileId, Folder, Found, file_id, found, is_pipe, set_mode};
pub(crate) use lock::try_lock;
pub(crate) use open_files::{
    LastFiles, idle_connections_max, is_out_of_files, open_patiently, out_of_files, shards_max,
};
pub use open_files::{check_open_files_limit, raise_open_files_limit};
pub(crate) use own::{is_of_the_system, open_own, open_pipe};
pub(crate) use unnamed::{punch_hole, unnamed};
pub use upload_file::UploadFile;
#[cfg(feature = "tables")]
pub(crate) use whole::ClosedFile;
pub use whole::WholeFile;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;
