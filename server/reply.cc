#include "server/reply.h"

#include "server/cast.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

struct Rows {
  absl::Span<const std::byte> bytes;
  int64_t count = 0;
};

Rows SliceOf(const HostTensor& tensor, const Job& job) {
  const std::vector<int64_t>& offsets = job.forward->batch.token_offsets;
  const int64_t begin = offsets[job.batch_index];
  const int64_t count = offsets[job.batch_index + 1] - begin;
  const int64_t row_bytes = tensor.cols * ByteSize(tensor.dtype);
  const absl::Span<const std::byte> all(tensor.data.get(), static_cast<size_t>(tensor.rows * row_bytes));
  return {all.subspan(static_cast<size_t>(begin * row_bytes), static_cast<size_t>(count * row_bytes)), count};
}

absl::Status Nonfinite(const std::string& output) {
  return MakeStatus(Fault::kInternal, Cat("the output ", output, " holds a value that is not finite"));
}

absl::Status AddTensor(const std::string& name, const std::vector<int64_t>& shape, absl::Span<const std::byte> values,
                       DType dtype, DType wanted, v1::Result& result) {
  v1::Tensor& tensor = *result.add_outputs();
  tensor.set_name(name);
  for (const int64_t side : shape) tensor.add_shape(static_cast<uint64_t>(side));
  tensor.set_dtype(ToProto(wanted));
  std::string& data = *tensor.mutable_data();
  if (dtype == wanted) {
    data.assign(reinterpret_cast<const char*>(values.data()), values.size());
    return absl::OkStatus();
  }
  data.resize(values.size() / static_cast<size_t>(ByteSize(dtype)) * static_cast<size_t>(ByteSize(wanted)));
  const absl::Span<std::byte> to(reinterpret_cast<std::byte*>(data.data()), data.size());
  if (Cast(values, dtype, to, wanted)) return absl::OkStatus();
  return MakeStatus(Fault::kOverflow, Cat("the output ", name, " holds a value too large for outputs.dtype ",
                                          Name(wanted), ": ask for bf16 or fp32"));
}

absl::Status AddRows(const std::string& name, const HostTensor& tensor, const Job& job, v1::Result& result) {
  const Rows rows = SliceOf(tensor, job);
  if (!AllFinite(rows.bytes, tensor.dtype)) return Nonfinite(name);
  return AddTensor(name, {rows.count, tensor.cols}, rows.bytes, tensor.dtype, job.plan.dtype, result);
}

// The means of `parts` equal shares of the item's tokens, one after the other.
absl::Status AddMeans(const std::string& name, int64_t parts, const std::vector<int64_t>& shape, const Job& job,
                      v1::Result& result) {
  const HostTensor& tokens = job.forward->batch.tokens;
  const Rows rows = SliceOf(tokens, job);
  if (!AllFinite(rows.bytes, tokens.dtype)) return Nonfinite(name);
  const auto count = static_cast<size_t>(parts);
  const auto cols = static_cast<size_t>(tokens.cols);
  const size_t part_bytes = rows.bytes.size() / count;
  std::vector<float> means(count * cols);
  for (size_t i = 0; i < count; ++i) {
    const absl::Span<float> mean = absl::MakeSpan(means).subspan(i * cols, cols);
    MeanOfRows(rows.bytes.subspan(i * part_bytes, part_bytes), tokens.dtype, tokens.cols, mean);
    if (job.plan.l2_normalize) ScaleToLengthOne(mean);
  }
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(means.data()),
                                          means.size() * sizeof(float));
  return AddTensor(name, shape, bytes, DType::kFp32, job.plan.dtype, result);
}

absl::Status AddOutputs(const Job& job, v1::Result& result) {
  const EncodedBatch& batch = job.forward->batch;
  const OutputSet& wanted = job.plan.outputs;
  const auto add = [&](bool send, const std::string& name, auto make) {
    if (send) return make(name);
    result.add_outputs_not_sent(name);
    return absl::OkStatus();
  };
  absl::Status added =
      add(wanted.tokens, "tokens", [&](auto& name) { return AddRows(name, batch.tokens, job, result); });
  for (size_t i = 0; added.ok() && i < wanted.deepstack.size(); ++i) {
    added = add(wanted.deepstack[i], Cat("deepstack_", i),
                [&](auto& name) { return AddRows(name, batch.deepstack[i], job, result); });
  }
  if (!added.ok()) return added;
  const int64_t cols = batch.tokens.cols;
  added = add(job.plan.pooled, "pooled", [&](auto& name) { return AddMeans(name, 1, {cols}, job, result); });
  if (!added.ok()) return added;
  const int64_t slices = job.plan.grid.t;
  return add(job.plan.pooled_slices, "pooled_slices", [&](auto& name) {
    return AddMeans(name, slices, {slices, cols}, job, result);
  });
}

void AddClipFacts(const ClipFacts& clip, v1::Result& result) {
  for (const int64_t index : clip.frame_indices) result.add_frame_indices(static_cast<uint64_t>(index));
  if (clip.source_fps) result.set_source_fps(*clip.source_fps);
  for (const double seconds : clip.slice_timestamps) result.add_slice_timestamps(seconds);
  result.set_padded(clip.padded);
}

absl::Status CheckTensor(std::string_view name, const HostTensor& tensor, int64_t rows, const EncoderInfo& info) {
  if (tensor.data && tensor.rows == rows && tensor.cols == info.tower.out_hidden_size && tensor.dtype == info.dtype) {
    return absl::OkStatus();
  }
  return MakeStatus(Fault::kInternal,
                    Cat("the encoder's ", name, " are [", tensor.rows, ", ", tensor.cols, "] ", Name(tensor.dtype),
                        " instead of [", rows, ", ", info.tower.out_hidden_size, "] ", Name(info.dtype)));
}

absl::Status CheckOffsets(const std::vector<int64_t>& offsets, absl::Span<const std::unique_ptr<Job>> jobs,
                          const EncoderInfo& info) {
  bool right = offsets.size() == jobs.size() + 1 && offsets[0] == 0;
  for (size_t i = 0; right && i < jobs.size(); ++i) {
    right = offsets[i + 1] - offsets[i] == jobs[i]->patches() / info.tower.merge_unit();
  }
  if (right) return absl::OkStatus();
  return MakeStatus(Fault::kInternal, Cat("the encoder's token_offsets do not fit a batch of ", jobs.size(), " items"));
}

}  // namespace

std::vector<std::string> OutputNames(const EncoderInfo& info) {
  std::vector<std::string> names = {"tokens"};
  for (size_t i = 0; i < info.tower.deepstack_visual_indexes.size(); ++i) names.push_back(Cat("deepstack_", i));
  names.insert(names.end(), {"pooled", "pooled_slices"});
  return names;
}

absl::Status CheckForward(const ForwardResult& forward, absl::Span<const std::unique_ptr<Job>> jobs,
                          const EncoderInfo& info) {
  const EncodedBatch& batch = forward.batch;
  if (absl::Status offsets = CheckOffsets(batch.token_offsets, jobs, info); !offsets.ok()) return offsets;
  const int64_t rows = batch.token_offsets.back();
  if (forward.computed.tokens) {
    if (absl::Status tokens = CheckTensor("tokens", batch.tokens, rows, info); !tokens.ok()) return tokens;
  }
  if (batch.deepstack.size() != forward.computed.deepstack.size()) {
    return MakeStatus(Fault::kInternal, Cat("the encoder made ", batch.deepstack.size(),
                                            " DeepStack levels instead of ", forward.computed.deepstack.size()));
  }
  for (size_t i = 0; i < batch.deepstack.size(); ++i) {
    if (!forward.computed.deepstack[i]) continue;
    absl::Status level = CheckTensor(Cat("rows of deepstack_", i), batch.deepstack[i], rows, info);
    if (!level.ok()) return level;
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Result> BuildResult(const Job& job, const EncoderInfo& info) {
  v1::Result result;
  result.mutable_status()->set_code(0);
  result.mutable_grid_thw()->set_t(static_cast<uint32_t>(job.plan.grid.t));
  result.mutable_grid_thw()->set_h(static_cast<uint32_t>(job.plan.grid.h));
  result.mutable_grid_thw()->set_w(static_cast<uint32_t>(job.plan.grid.w));
  result.set_token_count(static_cast<uint64_t>(job.patches() / info.tower.merge_unit()));
  result.set_hidden_size(static_cast<uint64_t>(info.tower.out_hidden_size));
  result.set_dtype(ToProto(job.plan.dtype));
  if (absl::Status added = AddOutputs(job, result); !added.ok()) return added;
  if (job.clip) AddClipFacts(*job.clip, result);
  SetTimes(job.times, *result.mutable_times());
  result.mutable_times()->set_batch_items(static_cast<uint32_t>(job.forward->items));
  result.mutable_times()->set_batch_patches(static_cast<uint64_t>(job.forward->patches));
  return result;
}

std::optional<DType> FromProto(int dtype) {
  switch (dtype) {
    case v1::DTYPE_BF16:
      return DType::kBf16;
    case v1::DTYPE_FP16:
      return DType::kFp16;
    case v1::DTYPE_FP32:
      return DType::kFp32;
    default:
      return std::nullopt;
  }
}

v1::DType ToProto(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return v1::DTYPE_BF16;
    case DType::kFp16:
      return v1::DTYPE_FP16;
    case DType::kFp32:
      return v1::DTYPE_FP32;
  }
  return v1::DTYPE_UNSPECIFIED;
}

}  // namespace vitower
