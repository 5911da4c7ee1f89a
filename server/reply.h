// private header
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/encoder.h"
#include "server/job.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// The names of the outputs a model has, in the order of a reply: "tokens", "deepstack_0", ..., "pooled",
// "pooled_slices".
std::vector<std::string> OutputNames(const EncoderInfo& info);

// That a batch from an encoder holds what the items need, so that slicing cannot read past its ends.
absl::Status CheckForward(const ForwardResult& forward, absl::Span<const std::unique_ptr<Job>> jobs,
                          const EncoderInfo& info);

// Slices the item's rows from its batch, pools and casts them, and says what is in them and of which frames. INTERNAL
// where an output holds a NaN or an infinity, OUT_OF_RANGE where a value does not fit the dtype asked for. Thread-safe.
// REQUIRES: job.forward is set and passed CheckForward.
absl::StatusOr<v1::Result> BuildResult(const Job& job, const EncoderInfo& info);

v1::DType ToProto(DType dtype);
// Nothing for DTYPE_UNSPECIFIED and for values that are no dtype.
std::optional<DType> FromProto(int dtype);

}  // namespace vitower
