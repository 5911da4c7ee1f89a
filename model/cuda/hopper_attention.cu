#include "model/cuda/attention_tile.cuh"
#include "model/cuda/barrier.cuh"
#include "model/cuda/wgmma.cuh"

namespace vitower {
namespace {

// The attention kernel for Hopper. Warpgroups take 64 queries each; further warps copy keys and values, a run of them
// at a time, into a ring of slots in shared memory, from which the matrix units read them. Each warpgroup walks the
// ring at its own pace, so that one's exponentials run beside another's products. A head of 72 is cut into 64,
// swizzled, and 8, which with 8 zeros make a last step of 16.

constexpr int kGroupRows = 64;
constexpr int kGroupThreads = 128;
constexpr int kRowBytes = 128;     // of the swizzled part: 64 elements
constexpr int kRestRowBytes = 16;  // of the rest: 8 elements
constexpr int kAtomBytes = 8 * kRowBytes;
constexpr int kStepKeys = 64;  // of the last keys of a segment, at a time

// How many keys a run has and how many slots the ring. Longer runs mean fewer waits for the products, as long as scores
// and outputs fit into the registers (measured; see docs/measured/h200.md).
struct RingShape {
  int run_keys;
  int slots;
};
constexpr RingShape ShapeOf(int head_dim, int groups) {
  if (groups == 1) return head_dim == 72 ? RingShape{160, 2} : RingShape{96, 4};
  if (groups == 3) return head_dim == 72 ? RingShape{128, 4} : RingShape{160, 3};
  return {96, 6};
}

// kGroups: warpgroups that attend, of a block.
template <int kHeadDim, int kGroups>
struct Layout {
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
  static_assert(kRunKeys % kStepKeys <= 32);
  static_assert(kSlotBytes % kAtomBytes == 0 && kQueryBytes % kAtomBytes == 0);
};

// The slot that is next, and how often the ring has been walked.
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

// A warp of 16 queries, in step with the other three of its warpgroup.
template <typename T, int kHeadDim, typename L>
class Attender {
 public:
  __device__ Attender(const TileAttentionArgs& args, float scale, const Ring<L>& ring)
      : args_(args), scale_(scale), ring_(ring), queries_(ring.Queries(Group())) {
    if constexpr (L::kRest) {
      for (int row = InGroup(); row < kGroupRows; row += kGroupThreads) {
        *reinterpret_cast<uint4*>(queries_ + L::kQueryZeros + row * kRestRowBytes) = uint4{0, 0, 0, 0};
      }
    }
  }

  // The warpgroups take turns at being a tile's first, so that tiles that do not need all of them keep all busy.
  __device__ void Run() {
    int group = Group();  // of this tile's
    ForAllWork(args_, [&](const Work& work, const Work& next) {
      const int groups = (work.tile.rows + kGroupRows - 1) / kGroupRows;
      const int group_then = group - groups + (group < groups ? kGroups : 0);
      if (group < groups) {
        Attend(work, group * kGroupRows + WarpFirst(), next, group_then * kGroupRows + WarpFirst());
      } else {
        for (int first_key = 0; first_key < work.tile.segment_length; first_key += L::kRunKeys) {
          ring_.Full(next_.slot).Await(next_.parity);
          Release();
        }
      }
      group = group_then;
    });
  }

 private:
  static constexpr int kGroups = (L::kThreads - L::kCopyThreads) / kGroupThreads;
  static constexpr int kChunks = kHeadDim / 8;  // 16 bytes of a row

  __device__ static int Group() { return static_cast<int>(threadIdx.x) / kGroupThreads; }
  __device__ static int InGroup() { return static_cast<int>(threadIdx.x) % kGroupThreads; }
  __device__ static int WarpFirst() { return InGroup() / 32 * kWarpRows; }
  __device__ static void SyncGroup() { asm volatile("bar.sync %0, 128;\n" ::"r"(Group() + 1) : "memory"); }

  // Where 16 bytes of one of this warp's rows lie in queries_.
  __device__ __forceinline__ unsigned char* Chunk(int row, int chunk) const {
    const int in_group = WarpFirst() + row;
    if (L::kRest && chunk == 8) return queries_ + L::kQueryRest + in_group * kRestRowBytes;
    return queries_ + in_group * kRowBytes + (chunk ^ row % 8) * 16;
  }

  __device__ __forceinline__ void Release() {
    if (threadIdx.x % 32 == 0) ring_.Empty(next_.slot).Arrive();
    next_.Advance();
  }

  // `first_row`, `row_then`: this warp's first of the tile, and of the next one.
  __device__ __forceinline__ void Attend(const Work& work, int first_row, const Work& next, int row_then) {
    const AttentionTile& tile = work.tile;
    const TileRows<T> rows(args_, tile, work.head);
    const int valid_rows = tile.rows - first_row;  // none or fewer where only the warps before it have queries
    if (valid_rows > 0) {
      LoadQueries<T, kHeadDim>(
          rows.queries + first_row * 3 * rows.width, 3 * rows.width,
          args_.rotary + int64_t{tile.first_row + first_row} * kHeadDim, valid_rows,
          [&](int row, int first) { return reinterpret_cast<T*>(Chunk(row, first / 8)) + first % 8; });
    }
    PublishToMatrixUnits();
    SyncGroup();
    Prefetch(next, row_then);
    WarpState<kHeadDim> state;
    int left = tile.segment_length;
    for (; left >= L::kRunKeys; left -= L::kRunKeys) {
      ring_.Full(next_.slot).Await(next_.parity);
      Step<L::kRunKeys / 8>(state, 0, L::kRunKeys, valid_rows > 0);
      Release();
    }
    if (left > 0) Finish(state, left, valid_rows > 0);
    SyncGroup();  // nobody reads the queries any more
    WriteOut(state, static_cast<T*>(args_.out) + (tile.first_row + first_row) * rows.width + work.head * kHeadDim,
             rows.width, valid_rows);
  }

  // The queries and angles of the next tile into the L2 cache.
  __device__ __forceinline__ void Prefetch(const Work& work, int first_row) const {
    const int row = first_row + static_cast<int>(threadIdx.x) % 32 / 2;
    if (row >= work.tile.rows) return;
    const TileRows<T> rows(args_, work.tile, work.head);
    const float* angles = args_.rotary + int64_t{work.tile.first_row + row} * kHeadDim;
    const int half = static_cast<int>(threadIdx.x) % 2;
    asm volatile("prefetch.global.L2 [%0];\n" ::"l"(angles + half * (kHeadDim / 2)));
    asm volatile("prefetch.global.L2 [%0];\n" ::"l"(rows.queries + row * 3 * rows.width + half * (kHeadDim - 1)));
  }

  // The last keys of a segment, fewer than a run.
  __device__ __forceinline__ void Finish(WarpState<kHeadDim>& state, int left, bool live) {
    ring_.Full(next_.slot).Await(next_.parity);
#pragma unroll 1
    for (int first = 0; first < left;) {
      const int valid_keys = left - first;
      if (valid_keys > 32) {
        Step<8>(state, first, valid_keys, live);
        first += 64;
      } else if (valid_keys > 16) {
        Step<4>(state, first, valid_keys, live);
        first += 32;
      } else {
        Step<2>(state, first, valid_keys, live);
        first += 16;
      }
    }
    Release();
  }

  // 8 * kBlocks keys of the next slot, from `first` on. `live`: whether this warp has queries; its warpgroup has.
  template <int kBlocks>
  __device__ __forceinline__ void Step(WarpState<kHeadDim>& state, int first, int valid_keys, bool live) const {
    const unsigned char* slot = ring_.Slot(next_.slot);
    float scores[kBlocks][4];
    Scores(slot, first, scores);
    if (live) {
      if (valid_keys < kBlocks * 8) MaskKeys(valid_keys, scores);
      Rescale(state, Softmax(state, scale_, scores));
    }
    AddValues(state, slot, first, scores);
  }

  template <int kBlocks>
  __device__ __forceinline__ void Scores(const unsigned char* slot, int first, float (&scores)[kBlocks][4]) const {
    const uint64_t queries = Descriptor(queries_, Swizzle::k128Bytes, 16, kAtomBytes);
    const uint64_t keys = Descriptor(slot + first * kRowBytes, Swizzle::k128Bytes, 16, kAtomBytes);
    FenceRegisters();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const auto offset = static_cast<uint64_t>(step * 2);
      MultiplyRows(T{}, scores, queries + offset, keys + offset, step > 0 ? 1 : 0);
    }
    if constexpr (L::kRest) {
      MultiplyRows(T{}, scores, Descriptor(queries_ + L::kQueryRest, Swizzle::kNone, kGroupRows * kRestRowBytes, 128),
                   Descriptor(slot + L::kKeyRest + first * kRestRowBytes, Swizzle::kNone, L::kRestBytes, 128), 1);
    }
    CommitProducts();
    WaitForProducts();
    Settle(scores);
  }

  template <int kBlocks>
  __device__ __forceinline__ void AddValues(WarpState<kHeadDim>& state, const unsigned char* slot, int first,
                                            const float (&weights)[kBlocks][4]) const {
    uint32_t packed[kBlocks / 2][4];
#pragma unroll
    for (int step = 0; step < kBlocks / 2; ++step) PackWeights<T>(weights, step * 16, packed[step]);
    const uint64_t values =
        Descriptor(slot + L::kPanelBytes + first * kRowBytes, Swizzle::k128Bytes, kAtomBytes, kAtomBytes);
    auto& out = reinterpret_cast<float (&)[8][4]>(state.out);
    Settle(state.out);
    FenceRegisters();
#pragma unroll
    for (int step = 0; step < kBlocks / 2; ++step) {
      MultiplyColumns(T{}, out, packed[step], values + static_cast<uint64_t>(step * 2 * kAtomBytes >> 4));
      if constexpr (L::kRest) {
        auto& rest = reinterpret_cast<float (&)[1][4]>(state.out[8]);
        const unsigned char* rows = slot + L::kValueRest + (first + step * 16) * kRestRowBytes;
        MultiplyColumns(T{}, rest, packed[step], Descriptor(rows, Swizzle::kNone, 128, 128));
      }
    }
    CommitProducts();
    WaitForProducts();
    Settle(state.out);
    Settle(packed);
  }

  // Through shared memory, where this warp's queries were, so that whole rows are written.
  __device__ __forceinline__ void WriteOut(WarpState<kHeadDim>& state, T* out, int64_t row_stride,
                                           int valid_rows) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    Normalise(state);
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      StoreMatrices(Chunk(lane % 16, chunk), Pack<T>(state.out[chunk][0], state.out[chunk][1]),
                    Pack<T>(state.out[chunk][2], state.out[chunk][3]));
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < kWarpRows * kChunks; i += 32) {
      const int row = i / kChunks;
      const int chunk = i % kChunks;
      if (row < valid_rows) {
        *reinterpret_cast<uint4*>(out + row * row_stride + chunk * 8) =
            *reinterpret_cast<const uint4*>(Chunk(row, chunk));
      }
    }
    __syncwarp();  // before the next tile's queries
  }

  const TileAttentionArgs& args_;
  const float scale_;
  const Ring<L> ring_;
  unsigned char* const queries_;  // its warpgroup's
  Cursor<L::kSlots> next_;
};

// Registers that the copying threads do not need go to the others, where both are whole warpgroups.
template <int kGroups>
__device__ __forceinline__ void TakeRegisters() {
  if constexpr (kGroups > 1) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kGroups == 3 ? 160 : 112));
}
template <int kGroups>
__device__ __forceinline__ void GiveRegisters() {
  if constexpr (kGroups > 1) asm volatile("setmaxnreg.dec.sync.aligned.u32 32;\n");
}

template <typename T, int kHeadDim, int kGroups>
__global__ void __launch_bounds__(Layout<kHeadDim, kGroups>::kThreads, Layout<kHeadDim, kGroups>::kBlocks)
    HopperAttentionKernel(TileAttentionArgs args, float scale) {
  using L = Layout<kHeadDim, kGroups>;
  extern __shared__ __align__(16) unsigned char unaligned[];
  const Ring<L> ring{unaligned + (kAtomBytes - SharedAddress(unaligned) % kAtomBytes) % kAtomBytes};
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < L::kSlots; ++slot) {
      ring.Full(slot).Start(L::kCopyThreads);
      ring.Empty(slot).Start(kGroups * 4);
    }
  }
  if constexpr (L::kRest) {
    constexpr int kVectors = L::kRestBytes / 16;
    for (int i = static_cast<int>(threadIdx.x); i < L::kSlots * kVectors; i += L::kThreads) {
      reinterpret_cast<uint4*>(ring.Slot(i / kVectors) + L::kZeros)[i % kVectors] = uint4{0, 0, 0, 0};
    }
    PublishToMatrixUnits();
  }
  __syncthreads();
  AwaitEarlierKernels();
  if (threadIdx.x < kGroups * kGroupThreads) {
    TakeRegisters<kGroups>();
    Attender<T, kHeadDim, L>(args, scale, ring).Run();
  } else {
    GiveRegisters<kGroups>();
    Copier<T, L>(args, ring).Run();
  }
}

template <int kGroups>
struct Groups {
  template <typename T, int kHeadDim>
  struct Kernel {
    static constexpr int kBytes = Layout<kHeadDim, kGroups>::kBytes;
    static constexpr int kThreads = Layout<kHeadDim, kGroups>::kThreads;
    static constexpr auto kFunction = HopperAttentionKernel<T, kHeadDim, kGroups>;
  };
};

}  // namespace

int32_t HopperAttentionBlocks(Element element, int32_t head_dim, int32_t tile_rows) {
  if (tile_rows <= 64) return AttentionBlocks<Groups<1>::Kernel>(element, head_dim);
  if (tile_rows <= 192) return AttentionBlocks<Groups<3>::Kernel>(element, head_dim);
  return AttentionBlocks<Groups<4>::Kernel>(element, head_dim);
}

cudaError_t LaunchHopperAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  if (args.tile_rows <= 64) return LaunchAttention<Groups<1>::Kernel>(element, args, stream);
  if (args.tile_rows <= 192) return LaunchAttention<Groups<3>::Kernel>(element, args, stream);
  return LaunchAttention<Groups<4>::Kernel>(element, args, stream);
}

}  // namespace vitower
