#pragma once

#include <string>

#include "model/tower_source.h"

namespace vitower {

// SHA-256 in hex over all that decides a tower's answers: configuration, processors, the dtype it computes in, and each
// tensor's name, shape, dtype and bytes. How the files are cut, their prefix, and whether the patch embedding is stored
// as Conv3d or Linear do not change it. Reads every byte, on `threads` threads.
std::string Fingerprint(const TowerSource& source, DType compute_dtype, int threads);

}  // namespace vitower
