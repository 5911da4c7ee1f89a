#include "client/answer_assembler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

constexpr uint64_t kTrustedBytes = uint64_t{256} << 20;  // reserved at once on the server's word

template <class... Parts>
absl::Status Broken(uint64_t key, const Parts&... parts) {
  return absl::InternalError(absl::StrCat("the server broke the protocol: the answer to key ", key, " ", parts...));
}

bool IsFull(const v1::Tensor& tensor) { return tensor.data().size() >= tensor.byte_count(); }

bool IsComplete(const v1::Result& result) {
  return std::all_of(result.outputs().begin(), result.outputs().end(), IsFull);
}

absl::Status Append(uint64_t key, const v1::TensorPart& part, v1::Tensor& output) {
  std::string& data = *output.mutable_data();
  if (part.offset() != data.size()) {
    return Broken(key, "has a part of ", output.name(), " at byte ", part.offset(), " where byte ", data.size(),
                  " is due");
  }
  if (part.data().empty() || part.data().size() > output.byte_count() - data.size()) {
    return Broken(key, "has a part of ", output.name(), " of ", part.data().size(), " bytes where ",
                  output.byte_count() - data.size(), " are left");
  }
  if (data.empty()) data.reserve(std::min(output.byte_count(), kTrustedBytes));
  data.append(part.data());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<AnswerAssembler::Answer>> AnswerAssembler::Take(v1::EmbedStreamResponse message) {
  const uint64_t key = message.key();
  const bool is_known = unfinished_.count(key) > 0;
  switch (message.body_case()) {
    case v1::EmbedStreamResponse::kResult:
      if (is_known) return Broken(key, "has a second result");
      return TakeResult(key, std::move(*message.mutable_result()));
    case v1::EmbedStreamResponse::kPart:
      if (!is_known) return Broken(key, "has a part that belongs to no result");
      return TakePart(key, message.part());
    default:
      return Broken(key, "is empty");
  }
}

std::optional<AnswerAssembler::Answer> AnswerAssembler::TakeResult(uint64_t key, v1::Result result) {
  if (IsComplete(result)) return Answer{key, std::move(result)};
  unfinished_.emplace(key, std::move(result));
  return std::nullopt;
}

absl::StatusOr<std::optional<AnswerAssembler::Answer>> AnswerAssembler::TakePart(uint64_t key,
                                                                                 const v1::TensorPart& part) {
  const auto unfinished = unfinished_.find(key);
  v1::Result& result = unfinished->second;
  if (part.output() >= static_cast<uint32_t>(result.outputs_size())) {
    return Broken(key, "has a part of output ", part.output(), " of ", result.outputs_size());
  }
  v1::Tensor& output = *result.mutable_outputs(static_cast<int>(part.output()));
  if (absl::Status appended = Append(key, part, output); !appended.ok()) return appended;
  if (!IsFull(output) || !IsComplete(result)) return std::optional<Answer>();
  std::optional<Answer> answer(Answer{key, std::move(result)});
  unfinished_.erase(unfinished);
  return answer;
}

}  // namespace vitower
