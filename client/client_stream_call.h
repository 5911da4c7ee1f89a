#pragma once
// private header

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "client/channel.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// One EmbedStream call as blocking reads and writes of messages. One thread may write while another reads; Cancel may
// come from any. The destructor cancels and waits until gRPC has let go of the call.
class ClientStreamCall final : private grpc::ClientBidiReactor<grpc::ByteBuffer, v1::EmbedStreamResponse> {
 public:
  using TimePoint = std::chrono::system_clock::time_point;

  ClientStreamCall(const std::shared_ptr<grpc::Channel>& channel, const CallDescription& description);
  ~ClientStreamCall() override;
  ClientStreamCall(const ClientStreamCall&) = delete;
  ClientStreamCall& operator=(const ClientStreamCall&) = delete;

  // Waits until gRPC has taken the message, an EmbedStreamRequest. False: the call has ended.
  bool Write(const grpc::ByteBuffer& message);
  // No more messages. Does not wait; idempotent.
  void WritesDone();

  enum class ReadOutcome { kMessage, kTimedOut, kEnded };
  // Waits for a message, for `until` or for the end of the call. After kTimedOut it may be called again.
  ReadOutcome Read(v1::EmbedStreamResponse& message, TimePoint until);

  // Why the call ended. REQUIRES: Read returned kEnded.
  absl::Status status() const;

  void Cancel() { context_.TryCancel(); }

 private:
  enum class ReadState { kIdle, kPending, kDone, kFailed };

  bool BeginWrite();
  void EndWrite(bool ok);
  bool WaitForWrite();
  void BeginRead();
  void Finish();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { EndWrite(ok); }
  void OnWritesDoneDone(bool ok) override { EndWrite(ok); }
  void OnDone(const grpc::Status& status) override;

  grpc::TemplatedGenericStub<grpc::ByteBuffer, v1::EmbedStreamResponse> stub_;
  grpc::ClientContext context_;

  v1::EmbedStreamResponse incoming_;  // gRPC's while a read is pending

  mutable std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  ReadState read_ = ReadState::kIdle;
  bool writing_ = false;      // gRPC holds a message or the half-close
  bool write_ok_ = true;      // no write has failed yet
  bool writes_done_ = false;  // half-closed
  bool finishing_ = false;    // nothing more is started
  bool done_ = false;
  absl::Status status_;  // set with done_
};

}  // namespace vitower
