// private header
#pragma once

#include "model/cuda/launch.cuh"
#include "model/cuda/mma.cuh"

namespace vitower {

// What the two attention kernels share. A warp takes 16 queries of one head and walks the keys of their segment some at
// a time; the softmax is the running one, in base 2. Scores, weights and outputs lie in registers as the matrix
// instructions leave them: blocks of 8 columns, in each of which a lane holds two neighbours of row lane / 4 and two of
// the row 8 below.

inline constexpr int kWarpRows = 16;
inline constexpr float kNever = -1e30F;  // a score that no exponential sees

// What has come of a warp's queries so far.
template <int kHeadDim>
struct WarpState {
  static constexpr int kOutBlocks = kHeadDim / 8;
  float out[kOutBlocks][4];
  float largest[2] = {kNever, kNever};
  float sum[2] = {0, 0};
  __device__ __forceinline__ WarpState() {
#pragma unroll
    for (int n = 0; n < kOutBlocks; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = 0;
    }
  }
};

// Loads a warp's queries, of which at least one is valid, and turns them on the way. Each run of a row's elements goes
// where `place`(row, first element) says. The rows behind the valid ones become copies of the last of these: nobody
// looks at what comes of them.
template <typename T, int kHeadDim, typename Place>
__device__ __forceinline__ void LoadQueries(const T* source, int64_t row_stride, const float* rotary, int valid_rows,
                                            const Place& place) {
  constexpr int kHalf = kHeadDim / 2;
  constexpr int kRun = kHalf % 8 == 0 ? 8 : 4;
  constexpr int kRuns = kHalf / kRun;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x) % 32; i < kWarpRows * kRuns; i += 32) {
    const int row = i / kRuns;
    const int read = min(row, valid_rows - 1);
    const int first = i % kRuns * kRun;
    const T* low = source + read * row_stride + first;
    const float* angles = rotary + read * kHeadDim + first;
    Vec<T, kRun> a = Load<kRun>(low);
    Vec<T, kRun> b = Load<kRun>(low + kHalf);
    TurnPairs(a, b, Load<kRun>(angles), Load<kRun>(angles + kHalf));
    Save(place(row, first), a);
    Save(place(row, first + kHalf), b);
  }
}

template <int kBlocks>
__device__ __forceinline__ void MaskKeys(int valid_keys, float (&scores)[kBlocks][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (n * 8 + lane % 4 * 2 + i >= valid_keys) scores[n][i] = scores[n][i + 2] = kNever;
    }
  }
}

// The largest of a row's scores, and their sum: several chains at a time.
inline constexpr int kChains = 4;

template <int kBlocks>
__device__ __forceinline__ float Largest(const float (&scores)[kBlocks][4], int half, float so_far) {
  float chains[kChains] = {so_far, so_far, so_far, so_far};
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    float& chain = chains[n % kChains];
    chain = fmaxf(chain, fmaxf(scores[n][half * 2], scores[n][half * 2 + 1]));
  }
  float largest = fmaxf(fmaxf(chains[0], chains[1]), fmaxf(chains[2], chains[3]));
  largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 1));
  return fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 2));
}

template <int kBlocks>
__device__ __forceinline__ float Exponentials(float (&scores)[kBlocks][4], int half, float scale, float shift) {
  float chains[kChains] = {};
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = half * 2; i < half * 2 + 2; ++i) {
      scores[n][i] = Exp2(scores[n][i] * scale - shift);
      chains[(n * 2 + i) % kChains] += scores[n][i];
    }
  }
  return (chains[0] + chains[1]) + (chains[2] + chains[3]);
}

// What has been summed under an older maximum is to be multiplied by this, for the two rows of a lane.
struct Shrink {
  bool any;  // of the warp's rows
  float by[2];
};

// Turns scores into weights, under a new maximum if there is one. The outputs so far are left for Rescale.
template <int kHeadDim, int kBlocks>
__device__ __forceinline__ Shrink Softmax(WarpState<kHeadDim>& state, float scale, float (&scores)[kBlocks][4]) {
  const float largest[2] = {Largest(scores, 0, state.largest[0]), Largest(scores, 1, state.largest[1])};
  Shrink shrink{__any_sync(0xFFFFFFFFU, largest[0] > state.largest[0] || largest[1] > state.largest[1]) != 0, {1, 1}};
  if (shrink.any) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      shrink.by[half] = Exp2((state.largest[half] - largest[half]) * scale);
      state.sum[half] *= shrink.by[half];
      state.largest[half] = largest[half];
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.sum[half] += Exponentials(scores, half, scale, largest[half] * scale);
  }
  return shrink;
}

template <int kHeadDim>
__device__ __forceinline__ void Rescale(WarpState<kHeadDim>& state, const Shrink& shrink) {
  if (!shrink.any) return;
#pragma unroll
  for (int n = 0; n < WarpState<kHeadDim>::kOutBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.out[n][i] *= shrink.by[i / 2];
  }
}

// The weights of 16 keys as a matrix instruction's left operand.
template <typename T, int kBlocks>
__device__ __forceinline__ void PackWeights(const float (&weights)[kBlocks][4], int keys, uint32_t (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float (&pair)[4] = weights[keys / 8 + i / 2];
    a[i] = Pack<T>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
  }
}

// Divides the outputs by their weights' sums.
template <int kHeadDim>
__device__ __forceinline__ void Normalise(WarpState<kHeadDim>& state) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
    const float scale = 1.0F / sum;
#pragma unroll
    for (int n = 0; n < WarpState<kHeadDim>::kOutBlocks; ++n) {
      state.out[n][half * 2] *= scale;
      state.out[n][half * 2 + 1] *= scale;
    }
  }
}

// Where the rows of a tile's head lie.
template <typename T>
struct TileRows {
  const T* queries;
  const T* keys;  // of the segment; values are `width` behind
  int64_t width;  // of one of q, k, v
  __device__ TileRows(const TileAttentionArgs& args, const AttentionTile& tile, int head)
      : width(int64_t{args.heads} * args.head_dim) {
    const T* qkv = static_cast<const T*>(args.qkv) + head * args.head_dim;
    queries = qkv + tile.first_row * 3 * width;
    keys = qkv + tile.segment_first * 3 * width + width;
  }
};

// How many thread blocks of `kernel` the current device runs at a time; 0 where it cannot run it.
template <typename Kernel>
int32_t BlocksAtATime(Kernel* kernel, int threads, int shared_bytes) {
  int device = 0;
  int processors = 0;
  int per_processor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes) != cudaSuccess ||
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel, threads, shared_bytes) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return processors * per_processor;
}

// Calls `launch` with values that stand for the element and the head; false where there is no kernel for them.
template <int kHeadDim>
struct Head {
  static constexpr int kDim = kHeadDim;
};
template <typename Launch>
bool ForAttentionShape(Element element, int32_t head_dim, const Launch& launch) {
  const auto with_head = [&](auto zero) {
    if (head_dim == 64) return launch(zero, Head<64>{}), true;
    if (head_dim == 72) return launch(zero, Head<72>{}), true;
    return false;
  };
  if (element == Element::kBf16) return with_head(__nv_bfloat16{});
  if (element == Element::kFp16) return with_head(__half{});
  return false;
}

inline float ScoreScale(int32_t head_dim) { return 1.4426950408889634F / sqrtf(static_cast<float>(head_dim)); }

// Kernel<T, head>: kThreads of a block, kBytes of shared memory, and the kernel itself as kFunction.
template <template <typename, int> class Kernel>
int32_t AttentionBlocks(Element element, int32_t head_dim) {
  int32_t blocks = 0;
  (void)ForAttentionShape(element, head_dim, [&](auto zero, auto head) {
    using K = Kernel<decltype(zero), decltype(head)::kDim>;
    blocks = BlocksAtATime(K::kFunction, K::kThreads, K::kBytes);
  });
  return blocks;
}

template <template <typename, int> class Kernel>
cudaError_t LaunchAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  const bool known = ForAttentionShape(element, args.head_dim, [&](auto zero, auto head) {
    using K = Kernel<decltype(zero), decltype(head)::kDim>;
    LaunchEarly(K::kFunction, static_cast<unsigned>(args.blocks), K::kThreads, K::kBytes, stream, args,
                ScoreScale(args.head_dim));
  });
  return known ? cudaGetLastError() : cudaErrorInvalidValue;
}

}  // namespace vitower
