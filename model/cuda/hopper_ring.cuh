// private header
#pragma once

#include "model/cuda/attention_tile.cuh"
#include "model/cuda/barrier.cuh"
#include "model/cuda/wgmma.cuh"

namespace vitower {

// Keys and values on Hopper: warps of their own copy them, a run at a time, into a ring of slots in shared memory, from
// which the matrix units of the warpgroups that attend read them. A head of 72 is cut into 64, swizzled, and 8, which
// with 8 zeros make a last step of 16.

inline constexpr int kGroupRows = 64;
inline constexpr int kGroupThreads = 128;
inline constexpr int kRowBytes = 128;     // of the swizzled part: 64 elements
inline constexpr int kRestRowBytes = 16;  // of the rest: 8 elements
inline constexpr int kAtomBytes = 8 * kRowBytes;
inline constexpr int kStepKeys = 64;  // of the last keys of a segment, at a time

// How many keys a run has and how many slots the ring. Longer runs mean fewer waits for the products, as long as scores
// and outputs fit into the registers: docs/measured/h200.md has what others take.
struct RingShape {
  int run_keys;
  int slots;
};
constexpr RingShape ShapeOf(int head_dim, int groups) {
  if (groups == 1) return head_dim == 72 ? RingShape{160, 2} : RingShape{96, 4};
  if (groups == 3) return head_dim == 72 ? RingShape{128, 4} : RingShape{160, 3};
  return {96, 6};
}

// kWarpgroups: those of a block that attend.
template <int kHeadDim, int kWarpgroups>
struct Layout {
  static constexpr int kGroups = kWarpgroups;
  static constexpr bool kRest = kHeadDim == 72;
  static constexpr int kRunKeys = ShapeOf(kHeadDim, kGroups).run_keys;
  static constexpr int kSlots = ShapeOf(kHeadDim, kGroups).slots;
  static constexpr int kBlocks = kGroups == 1 ? 2 : 1;  // on a multiprocessor
  static constexpr int kAhead = kSlots / 2;             // slots whose copies are under way at a time
  static constexpr int kCopyThreads = kGroups == 1 ? 32 : kGroupThreads;
  static constexpr int kThreads = kGroups * kGroupThreads + kCopyThreads;
  // A slot: keys, values; for a head of 72 then the rest of the keys, zeros, the rest of the values.
  static constexpr int kPanelBytes = kRunKeys * kRowBytes;
  static constexpr int kRestBytes = kRunKeys * kRestRowBytes;
  static constexpr int kKeyRest = 2 * kPanelBytes;
  static constexpr int kZeros = kKeyRest + kRestBytes;
  static constexpr int kValueRest = kZeros + kRestBytes;
  static constexpr int kSlotBytes =
      kRest ? kValueRest + (kRestBytes + kAtomBytes - 1) / kAtomBytes * kAtomBytes : kKeyRest;
  // A warpgroup's queries, and later its outputs: swizzled; for a head of 72 then the rest, zeros.
  static constexpr int kQueryRest = kGroupRows * kRowBytes;
  static constexpr int kQueryZeros = kQueryRest + kGroupRows * kRestRowBytes;
  static constexpr int kQueryBytes = kRest ? kQueryZeros + kGroupRows * kRestRowBytes : kQueryRest;
  // Shared memory: slots, queries, barriers.
  static constexpr int kQueries = kSlots * kSlotBytes;
  static constexpr int kBarriers = kQueries + kGroups * kQueryBytes;
  static constexpr int kBytes = kAtomBytes + kBarriers + 2 * kSlots * static_cast<int>(sizeof(PhaseBarrier));
  // What Finish reads of a run's last keys ends with the run.
  static_assert(kRunKeys % kStepKeys == 0 || kRunKeys % kStepKeys == 16 || kRunKeys % kStepKeys == 32);
  static_assert(kSlotBytes % kAtomBytes == 0 && kQueryBytes % kAtomBytes == 0);
};

// The slot that is next, and the parity of how often the ring has been walked.
template <int kSlots>
struct Cursor {
  int slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Advance() {
    if (++slot < kSlots) return;
    slot = 0;
    parity ^= 1;
  }
};

// One (tile, head) pair.
struct Work {
  AttentionTile tile;
  int head;
  __device__ Work(const TileAttentionArgs& args, int index)
      : tile(args.tiles[index / args.heads]), head(index % args.heads) {}
};

// Calls `body` with each of this block's pairs and the one after it, which is the same where there is none.
template <typename Body>
__device__ __forceinline__ void ForAllWork(const TileAttentionArgs& args, const Body& body) {
  const int count = *args.tile_count * args.heads;
  auto index = static_cast<int>(blockIdx.x);
  if (index >= count) return;
  Work work(args, index);
  while (index < count) {
    index += static_cast<int>(gridDim.x);
    const Work next = index < count ? Work(args, index) : work;
    body(work, next);
    work = next;
  }
}

// A block's shared memory.
template <typename L>
struct Ring {
  unsigned char* shared;  // at a multiple of kAtomBytes
  __device__ unsigned char* Slot(int slot) const { return shared + slot * L::kSlotBytes; }
  __device__ unsigned char* Queries(int group) const { return shared + L::kQueries + group * L::kQueryBytes; }
  __device__ PhaseBarrier& Full(int slot) const { return reinterpret_cast<PhaseBarrier*>(shared + L::kBarriers)[slot]; }
  __device__ PhaseBarrier& Empty(int slot) const { return Full(L::kSlots + slot); }
};

// The copying threads. Rows behind a segment become zeros.
template <typename T, typename L>
class Copier {
 public:
  __device__ Copier(const TileAttentionArgs& args, const Ring<L>& ring)
      : args_(args), ring_(ring), thread_(static_cast<int>(threadIdx.x) - (L::kThreads - L::kCopyThreads)) {}

  __device__ void Run() {
    ForAllWork(args_, [&](const Work& work, const Work&) {
      const TileRows<T> rows(args_, work.tile, work.head);
      for (int first_key = 0; first_key < work.tile.segment_length; first_key += L::kRunKeys) {
        ring_.Empty(next_.slot).Await(next_.parity ^ 1);
        const uint32_t slot = SharedAddress(ring_.Slot(next_.slot));
        const T* keys = rows.keys + int64_t{first_key} * 3 * rows.width;
        const int valid_rows = work.tile.segment_length - first_key;
        if (valid_rows >= L::kRunKeys) {
          CopyRows<true>(slot, keys, static_cast<int>(rows.width), L::kRunKeys);
        } else {
          CopyRows<false>(slot, keys, static_cast<int>(rows.width), valid_rows);
        }
        CommitCopies();
        next_.Advance();
        if (++under_way_ > L::kAhead) {
          WaitForCopies<L::kAhead>();
          Hand();
        }
      }
    });
    WaitForCopies<0>();
    while (under_way_ > 0) Hand();
  }

 private:
  // The oldest slot to the warpgroups.
  __device__ __forceinline__ void Hand() {
    PublishToMatrixUnits();
    ring_.Full(oldest_.slot).Arrive();
    oldest_.Advance();
    --under_way_;
  }

  template <bool kAll>
  __device__ __forceinline__ void CopyRows(uint32_t slot, const T* keys, int width, int valid_rows) const {
    constexpr int kRows = L::kCopyThreads / 8;  // that the threads copy at a time
    const int first = thread_ / 8;
    const int chunk = thread_ % 8;
    const T* source = keys + first * 3 * width + chunk * 8;
    const uint32_t even = slot + first * kRowBytes + (chunk ^ first % 8) * 16;
    const uint32_t odd = slot + first * kRowBytes + (chunk ^ (first + 4) % 8) * 16;
#pragma unroll
    for (int i = 0; i < L::kRunKeys / kRows; ++i) {
      if (!kAll && i * kRows >= valid_rows + kStepKeys) break;  // nobody reads that far
      const bool valid = kAll || first + i * kRows < valid_rows;
      const uint32_t target = (kRows == 4 && i % 2 == 1 ? odd : even) + i * kRows * kRowBytes;
      CopyAsync(target, source, valid);
      CopyAsync(target + L::kPanelBytes, source + width, valid);
      source += kRows * 3 * width;
    }
    if constexpr (L::kRest) {
#pragma unroll
      for (int row = thread_; row < L::kRunKeys; row += L::kCopyThreads) {
        const T* rest = keys + row * 3 * width + 64;
        CopyAsync(slot + L::kKeyRest + row * kRestRowBytes, rest, kAll || row < valid_rows);
        CopyAsync(slot + L::kValueRest + row * kRestRowBytes, rest + width, kAll || row < valid_rows);
      }
    }
  }

  const TileAttentionArgs& args_;
  const Ring<L> ring_;
  const int thread_;
  Cursor<L::kSlots> next_;
  Cursor<L::kSlots> oldest_;  // whose copies are under way
  int under_way_ = 0;
};

}  // namespace vitower
