#include "model/cuda/attention_tile.cuh"
#include "model/cuda/hopper_ring.cuh"
#include "model/cuda/wgmma.cuh"

namespace vitower {
namespace {

// The attention kernel for Hopper. Warpgroups take 64 queries each. Each walks the ring of keys and values at its own
// pace, so that one's exponentials run beside another's products.

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
      const int group_then = group - groups + (group < groups ? L::kGroups : 0);
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
    __syncwarp();
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

// What `use` returns for the kernels that take such tiles; `otherwise` where none does.
template <typename Result, typename Use>
Result ForTileRows(int32_t tile_rows, Result otherwise, const Use& use) {
  if (tile_rows == kSmallTileRows) return use(Groups<kSmallTileRows / kGroupRows>{});
  if (tile_rows == kHopperTileRows) return use(Groups<kHopperTileRows / kGroupRows>{});
  if (tile_rows == kShortTileRows) return use(Groups<kShortTileRows / kGroupRows>{});
  return otherwise;
}

}  // namespace

int32_t HopperAttentionBlocks(Element element, int32_t head_dim, int32_t tile_rows) {
  return ForTileRows(
      tile_rows, 0, [&](auto groups) { return AttentionBlocks<decltype(groups)::template Kernel>(element, head_dim); });
}

cudaError_t LaunchHopperAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  return ForTileRows(args.tile_rows, cudaErrorInvalidValue, [&](auto groups) {
    return LaunchAttention<decltype(groups)::template Kernel>(element, args, stream);
  });
}

}  // namespace vitower
