//! The codec, extraction and the view against each other.

mod disk;
mod hostile;
mod trees;

use std::collections::BTreeMap;

use super::*;
use crate::image::media_type::Compression;
use crate::layer::tests::*;
use crate::layer::*;
