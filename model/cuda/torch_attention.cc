#include "model/cuda/torch_attention.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/softmax.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <new>

namespace vitower {
namespace {

constexpr int64_t kScoreBytes = int64_t{512} << 20;  // of attention weights that the formula holds at a time

at::ScalarType ScalarType(Element element) {
  return element == Element::kBf16 ? at::kBFloat16 : element == Element::kFp16 ? at::kHalf : at::kFloat;
}

at::TensorOptions On(int device) {
  return at::TensorOptions(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
}

at::Tensor Rows(const SegmentAttention& batch) {
  return at::from_blob(batch.qkv, {batch.segment_offsets->back(), 3, batch.heads, batch.head_dim},
                       On(batch.device).dtype(ScalarType(batch.element)));
}

at::Tensor Offsets(const SegmentAttention& batch) {
  return at::from_blob(const_cast<int32_t*>(batch.device_offsets),
                       {static_cast<int64_t>(batch.segment_offsets->size())}, On(batch.device).dtype(at::kInt));
}

at::Tensor Flash(const SegmentAttention& batch) {
  const at::Tensor rows = Rows(batch);
  const at::Tensor offsets = Offsets(batch);
  return std::get<0>(at::_flash_attention_forward(rows.select(1, 0), rows.select(1, 1), rows.select(1, 2), offsets,
                                                  offsets, batch.longest, batch.longest, 0.0, false, false));
}

// Segments of one length that stand together go through one product, as many as the scores' budget takes.
at::Tensor Formula(const SegmentAttention& batch) {
  const at::Tensor rows = Rows(batch);
  at::Tensor result = at::empty({rows.size(0), batch.heads, batch.head_dim}, rows.options());
  const std::vector<int32_t>& offsets = *batch.segment_offsets;
  const double scale = 1 / std::sqrt(static_cast<double>(batch.head_dim));
  for (size_t first = 0; first + 1 < offsets.size();) {
    const int64_t length = offsets[first + 1] - offsets[first];
    const int64_t most = std::max<int64_t>(1, kScoreBytes / (batch.heads * length * length * 4));
    size_t last = first + 1;
    while (last + 1 < offsets.size() && offsets[last + 1] - offsets[last] == length &&
           static_cast<int64_t>(last - first) < most) {
      ++last;
    }
    const int64_t begin = offsets[first];
    const int64_t count = (offsets[last] - begin) / length;
    const auto parts = rows.narrow(0, begin, count * length).view({count, length, 3, batch.heads, batch.head_dim});
    const auto part = [&](int64_t i) { return parts.select(2, i).transpose(1, 2).contiguous(); };
    const at::Tensor weights = at::softmax(at::matmul(at::mul(part(0), scale), part(1).transpose(2, 3)), -1);
    result.narrow(0, begin, count * length)
        .view({count, length, batch.heads, batch.head_dim})
        .copy_(at::matmul(weights, part(2)).transpose(1, 2));
    first = last;
  }
  return result;
}

}  // namespace

AttentionOutput AttendWithTorch(AttentionKind kind, const SegmentAttention& batch) {
  const c10::InferenceMode inference;
  const c10::cuda::CUDAStreamGuard stream(
      c10::cuda::getStreamFromExternal(batch.stream, static_cast<c10::DeviceIndex>(batch.device)));
  try {
    const at::Tensor result = kind == AttentionKind::kFlash ? Flash(batch) : Formula(batch);
    const auto owner = std::make_shared<const at::Tensor>(result.contiguous());
    return {owner, owner->const_data_ptr()};
  } catch (const c10::OutOfMemoryError&) {
    throw std::bad_alloc();
  }
}

}  // namespace vitower
