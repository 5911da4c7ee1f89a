#include "tests/support/test_stream.h"

#include <algorithm>
#include <utility>

namespace vitower {
namespace {

bool IsComplete(const v1::Result& result) {
  return std::all_of(result.outputs().begin(), result.outputs().end(), [](const v1::Tensor& output) {
    return output.byte_count() == 0 || output.data().size() == output.byte_count();
  });
}

}  // namespace

TestStream::TestStream(v1::VisionEmbedder::Stub& stub, std::chrono::seconds deadline) {
  context_.set_deadline(std::chrono::system_clock::now() + deadline);
  stream_ = stub.EmbedStream(&context_);
}

TestStream::~TestStream() { context_.TryCancel(); }

bool TestStream::Send(uint64_t key, const v1::Item& item) {
  v1::EmbedStreamRequest message;
  message.set_key(key);
  *message.mutable_item() = item;
  return SendMessage(message);
}

bool TestStream::SendPart(uint64_t key, uint64_t offset, uint64_t total, const std::string& data) {
  v1::EmbedStreamRequest message;
  message.set_key(key);
  message.mutable_part()->set_offset(offset);
  message.mutable_part()->set_total(total);
  message.mutable_part()->set_data(data);
  return SendMessage(message);
}

bool TestStream::SendInParts(uint64_t key, const v1::Item& item, size_t chunk_bytes) {
  const std::string bytes = item.SerializeAsString();
  bool sent = true;
  for (size_t offset = 0; sent && offset < bytes.size(); offset += chunk_bytes) {
    sent = SendPart(key, offset, bytes.size(), bytes.substr(offset, chunk_bytes));
  }
  return sent;
}

std::optional<TestStream::Answer> TestStream::Read() {
  v1::EmbedStreamResponse message;
  while (stream_->Read(&message)) {
    const uint64_t key = message.key();
    if (!Take(message)) return std::nullopt;
    const auto found = incomplete_.find(key);
    if (!IsComplete(found->second.result)) continue;
    Answer answer = std::move(found->second);
    incomplete_.erase(found);
    return answer;
  }
  return std::nullopt;
}

bool TestStream::Take(v1::EmbedStreamResponse& message) {
  Answer& answer = incomplete_[message.key()];
  ++answer.messages;
  if (message.has_part()) return TakePart(answer, message.part());
  if (answer.messages > 1) broken_ = "a second result for the key " + std::to_string(message.key());
  answer.key = message.key();
  answer.result = std::move(*message.mutable_result());
  return broken_.empty();
}

bool TestStream::TakePart(Answer& answer, const v1::TensorPart& part) {
  const bool named = static_cast<int>(part.output()) < answer.result.outputs_size();
  std::string* data = named ? answer.result.mutable_outputs(static_cast<int>(part.output()))->mutable_data() : nullptr;
  if (data == nullptr || data->size() != part.offset()) {
    broken_ = "a part of output " + std::to_string(part.output()) + " at " + std::to_string(part.offset());
    return false;
  }
  *data += part.data();
  return true;
}

}  // namespace vitower
