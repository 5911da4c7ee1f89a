#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// A client's end of EmbedStream that puts answers together from their parts. One thread may write while another reads.
// Calls block. The destructor cancels.
class TestStream final {
 public:
  struct Answer {
    uint64_t key = 0;
    v1::Result result;
    size_t messages = 0;
  };

  explicit TestStream(v1::VisionEmbedder::Stub& stub, std::chrono::seconds deadline = std::chrono::seconds(60));
  ~TestStream();

  // False once the stream has ended.
  bool Send(uint64_t key, const v1::Item& item);
  bool SendPart(uint64_t key, uint64_t offset, uint64_t total, const std::string& data);
  bool SendInParts(uint64_t key, const v1::Item& item, size_t chunk_bytes);
  bool SendMessage(const v1::EmbedStreamRequest& message) { return stream_->Write(message); }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }

  // The next answer that is complete; nothing once the stream has ended. A part that does not continue what came before
  // ends the reading too, with `broken` saying so.
  std::optional<Answer> Read();
  const std::string& broken() const { return broken_; }

  // REQUIRES: Read returned nothing, or Cancel.
  grpc::Status Finish() { return stream_->Finish(); }

 private:
  bool Take(v1::EmbedStreamResponse& message);
  bool TakePart(Answer& answer, const v1::TensorPart& part);

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::EmbedStreamRequest, v1::EmbedStreamResponse>> stream_;
  std::map<uint64_t, Answer> incomplete_;
  std::string broken_;
};

}  // namespace vitower
