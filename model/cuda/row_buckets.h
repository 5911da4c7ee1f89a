#pragma once

#include <cstdint>
#include <vector>

namespace vitower {

// Rows for which CUDA graphs are captured: four to the octave from 128 on, steps of 16 below, so that each is at most
// 1.25 times the one before. Not finer: from 512 on each fills whole tiles of the GEMMs, which pays more than less
// padding (784 patches take 2.11 ms in 896 rows and 2.41 in 832, measured on an H100).
inline constexpr int64_t kSmallestGraphRows = 64;
inline constexpr int64_t kLargestGraphRows = 8192;

// The smallest bucket that holds `rows`. REQUIRES: rows > 0.
int64_t RowBucket(int64_t rows);

// All buckets from `smallest` to `largest`, both included. REQUIRES: both are buckets.
std::vector<int64_t> RowBuckets(int64_t smallest, int64_t largest);

// Rows for which a GEMM algorithm is chosen, once: the buckets, and from 2,048 on every 128, since what is best depends
// on how many tiles the rows fill.
int64_t GemmRows(int64_t rows);
std::vector<int64_t> AllGemmRows(int64_t largest);

}  // namespace vitower
