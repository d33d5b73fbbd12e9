//! The notes of a record: departures from a standard that were accepted in the head of a response or in a row. A closed
//! set, the same in records, in summaries and in `docs/reference/records.md` (compared by a test).

use std::fmt;

macro_rules! notes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// One kind of departure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Note {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Note {
            /// Every note, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name that records and summaries use, such as `obs-fold`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence on what it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii_start(),)+ }
            }
        }
    };
}

notes! {
    /// Empty lines came before the status line; they were skipped.
    BlankLines = "blank-lines";
    /// A value went on in further lines; each line end became one space (RFC 9112, section 5.2).
    ObsFold = "obs-fold";
    /// Blanks stood between a name and its colon; they were taken off (RFC 9112, section 5.1).
    SpaceBeforeColon = "space-before-colon";
    /// A line was no field, or its name was none; it was skipped.
    LineSkipped = "line-skipped";
    /// A value, or the text behind the status, had control characters; they were kept.
    ControlInValue = "control-in-value";
    /// A response of HTTP/1.0 was chunked; it was decoded, and the connection closed.
    Http10Chunked = "http10-chunked";
    /// The `Transfer-Encoding` was `identity` or empty; it was taken as absent.
    TeIdentity = "te-identity";
    /// The row is a record of an earlier run whose `meta` was no JSON object any more; it was dropped.
    MetaDropped = "meta-dropped";
    /// The server chose HTTP/2 and did not speak it, or refused it, or ended connections by errors; the request was sent over HTTP/1.1.
    Http2Left = "http2-left";
    /// The body has several ranges, each with a head of its own (multipart/byteranges); it was kept as it is.
    MultipartRanges = "multipart-ranges";
    /// The URL, or one that a redirect led to, was asked for over https instead of http, as its host wants (HSTS).
    Hsts = "hsts";
    /// The origin has sent bytes that no request had asked for; since then each request to it gets a connection of its own.
    UnaskedBytes = "unasked-bytes";
}

/// A set of notes.
///
/// ```
/// use overlapped_proto::notes::{Note, Notes};
///
/// let mut notes = Notes::default();
/// assert!(notes.is_empty());
/// notes.add(Note::ObsFold);
/// notes.add(Note::ObsFold);
/// assert_eq!(notes.iter().map(Note::name).collect::<Vec<_>>(), ["obs-fold"]);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes(u16);

impl Notes {
    /// Adds a note.
    pub fn add(&mut self, note: Note) {
        self.0 |= Self::mark(note);
    }

    /// Adds all notes of another set.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// True if there are no notes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The notes, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::ALL.iter().copied().filter(move |&note| self.0 & Self::mark(note) != 0)
    }

    /// The set as bits, for [`Notes::from_bits`].
    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    /// The set that [`Notes::bits`] gave.
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    const fn mark(note: Note) -> u16 {
        1 << (note as u8)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
