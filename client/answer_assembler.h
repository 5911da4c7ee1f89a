#pragma once
// private header

#include <cstdint>
#include <map>
#include <optional>

#include "absl/status/statusor.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Puts the answers of a stream together from their messages. Not thread-safe. Holds what has come of unfinished
// answers.
class AnswerAssembler final {
 public:
  struct Answer {
    uint64_t key = 0;
    v1::Result result;
  };

  // The answer that `message` completes, if any. INTERNAL, naming the key, for a message that breaks the protocol's
  // rules: a part without its result, out of order or beyond what was announced.
  absl::StatusOr<std::optional<Answer>> Take(v1::EmbedStreamResponse message);

 private:
  std::optional<Answer> TakeResult(uint64_t key, v1::Result result);
  absl::StatusOr<std::optional<Answer>> TakePart(uint64_t key, const v1::TensorPart& part);

  std::map<uint64_t, v1::Result> unfinished_;
};

}  // namespace vitower
