// The messages of one EmbedStream, each read as protobuf reads it, and their parts put together.
#include <algorithm>
#include <utility>
#include <vector>

#include "server/clock.h"
#include "server/metrics.h"
#include "server/stream_request.h"
#include "server/stream_uploads.h"
#include "tests/fuzz/expect.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

constexpr StreamUploads::Limits kLimits{/*max_count=*/4, /*max_bytes=*/1 << 12, /*max_held_bytes=*/1 << 13};

std::string Joined(const std::vector<grpc::Slice>& slices) {
  std::string joined;
  for (const grpc::Slice& slice : slices) joined.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return joined;
}

// In two slices, so that a field can lie across the seam.
grpc::ByteBuffer Message(const std::string& bytes) {
  const size_t seam = bytes.size() / 2;
  const grpc::Slice slices[] = {grpc::Slice(bytes.substr(0, seam)), grpc::Slice(bytes.substr(seam))};
  return grpc::ByteBuffer(slices, 2);
}

// Holds for messages as protobuf itself would write them: only there is a byte's meaning beyond dispute.
void CheckAgainstProtobuf(const std::string& bytes, const std::optional<StreamRequest>& read) {
  v1::EmbedStreamRequest message;
  if (!message.ParseFromString(bytes) || message.SerializeAsString() != bytes) return;
  Expect(read.has_value() && read->key == message.key(), "the key is protobuf's");
  if (message.has_item()) {
    Expect(read->body == StreamRequest::Body::kItem && Joined(read->payload) == message.item().SerializeAsString(),
           "the item is protobuf's");
  }
  if (message.has_part()) {
    Expect(read->body == StreamRequest::Body::kPart && read->part_offset == message.part().offset() &&
               read->part_total == message.part().total() && Joined(read->payload) == message.part().data(),
           "the part is protobuf's");
  }
}

void AddPart(StreamUploads& uploads, StreamRequest part) {
  const StreamUploads::Added added = uploads.Add(part, TimePoint(), /*insist=*/true);
  Expect(uploads.count() <= kLimits.max_count, "the limit on items holds");
  Expect(uploads.held_bytes() <= kLimits.max_held_bytes + kLimits.max_bytes, "the limit on bytes holds");
  if (added.outcome != StreamUploads::Added::Outcome::kWhole || added.whole.refused) return;
  Expect(static_cast<int64_t>(Joined(added.whole.bytes).size()) == added.whole.total, "a whole item is whole");
}

void Run(absl::Span<const uint8_t> input) {
  static Metrics metrics;
  SteadyClock clock;
  Admission admission({0, 1 << 13}, metrics, clock);
  StreamUploads uploads(kLimits, [&](int64_t bytes) { return admission.TryAcquire({0, 0, bytes}); });
  while (!input.empty()) {
    const size_t length = std::min<size_t>(input[0], input.size() - 1);
    const std::string bytes(input.begin() + 1, input.begin() + 1 + length);
    input.remove_prefix(1 + length);
    grpc::ByteBuffer message = Message(bytes);
    std::optional<StreamRequest> read = ParseStreamRequest(message);
    CheckAgainstProtobuf(bytes, read);
    if (read && read->body == StreamRequest::Body::kPart) AddPart(uploads, *std::move(read));
  }
}

}  // namespace
}  // namespace vitower

// Each message comes behind a byte that says its length.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vitower::Run({data, size});
  return 0;
}
