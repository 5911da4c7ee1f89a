#include "client/client_stream_call.h"

#include <utility>

#include "client/wire.h"

namespace vitower {
namespace {

constexpr char kEmbedStream[] = "/vitower.v1.VisionEmbedder/EmbedStream";

}  // namespace

ClientStreamCall::ClientStreamCall(const std::shared_ptr<grpc::Channel>& channel, const CallDescription& description)
    : stub_(channel) {
  Describe(context_, description);
  stub_.PrepareBidiStreamingCall(&context_, kEmbedStream, {}, this);
  AddHold();  // reads and writes are started from outside of gRPC's calls
  StartCall();
}

ClientStreamCall::~ClientStreamCall() {
  Cancel();
  Finish();
}

bool ClientStreamCall::Write(const grpc::ByteBuffer& message) {
  if (!BeginWrite()) return false;
  StartWrite(&message);
  return WaitForWrite();
}

void ClientStreamCall::WritesDone() {
  if (!BeginWrite()) return;
  {
    const std::lock_guard lock(mu_);
    writes_done_ = true;
  }
  StartWritesDone();
}

bool ClientStreamCall::BeginWrite() {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return !writing_; });
  if (finishing_ || writes_done_ || !write_ok_) return false;
  writing_ = true;
  return true;
}

void ClientStreamCall::EndWrite(bool ok) {
  const std::lock_guard lock(mu_);
  writing_ = false;
  write_ok_ = write_ok_ && ok;
  changed_.notify_all();
}

bool ClientStreamCall::WaitForWrite() {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return !writing_; });
  return write_ok_;
}

ClientStreamCall::ReadOutcome ClientStreamCall::Read(v1::EmbedStreamResponse& message, TimePoint until) {
  BeginRead();
  {
    std::unique_lock lock(mu_);
    if (!changed_.wait_until(lock, until, [this] { return read_ != ReadState::kPending; })) {
      return ReadOutcome::kTimedOut;
    }
    if (read_ == ReadState::kDone) {
      message = std::move(incoming_);
      read_ = ReadState::kIdle;
      return ReadOutcome::kMessage;
    }
  }
  Finish();
  return ReadOutcome::kEnded;
}

// A read that an earlier call gave up waiting for is still on its way.
void ClientStreamCall::BeginRead() {
  {
    const std::lock_guard lock(mu_);
    if (read_ != ReadState::kIdle) return;
    read_ = ReadState::kPending;
  }
  incoming_.Clear();
  StartRead(&incoming_);
}

void ClientStreamCall::OnReadDone(bool ok) {
  const std::lock_guard lock(mu_);
  read_ = ok ? ReadState::kDone : ReadState::kFailed;
  changed_.notify_all();
}

// The hold may go only when nobody is about to start anything.
void ClientStreamCall::Finish() {
  bool first = false;
  {
    std::unique_lock lock(mu_);
    first = !std::exchange(finishing_, true);
    changed_.wait(lock, [this] { return !writing_; });
  }
  if (first) RemoveHold();
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return done_; });
}

// The last that gRPC does with this object. Notified under the lock: the destructor may run as soon as it is free.
void ClientStreamCall::OnDone(const grpc::Status& status) {
  const std::lock_guard lock(mu_);
  status_ = ToStatus(status, context_);
  done_ = true;
  changed_.notify_all();
}

absl::Status ClientStreamCall::status() const {
  const std::lock_guard lock(mu_);
  return status_;
}

}  // namespace vitower
