#include "cli/remote_embed.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/format.h"
#include "cli/remote_item.h"
#include "cli/send_queue.h"
#include "server/mutex.h"

namespace vitower {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{2000};
constexpr int kSenders = 2;  // one reads a file while the other sends one

// Files in flight: never more than the server takes on one stream.
size_t WindowOf(const ServedModel& served, const RemoteOptions& options) {
  return std::min(options.in_flight, static_cast<size_t>(std::max<int64_t>(served.max_stream_items, 1)));
}

StreamOptions StreamOptionsOf(const ServedModel& served, const RemoteOptions& options) {
  StreamOptions stream;
  stream.max_items = static_cast<int64_t>(WindowOf(served, options));
  if (served.stream_chunk_bytes > 0) stream.chunk_bytes = served.stream_chunk_bytes;
  return stream;
}

// What the senders tell the thread that reads answers: whether there is any to wait for.
class SendNews final {
 public:
  struct Unsent {
    size_t index = 0;
    absl::Status why;
  };

  void Sent() {
    MutexLock lock(mu_);
    ++in_flight_;
    changed_.NotifyAll();
  }

  void CannotSend(Unsent unsent) {
    MutexLock lock(mu_);
    unsent_.push_back(std::move(unsent));
    changed_.NotifyAll();
  }

  void StreamEnded() {
    MutexLock lock(mu_);
    stream_ended_ = true;
    changed_.NotifyAll();
  }

  void Answered() {
    MutexLock lock(mu_);
    --in_flight_;
  }

  // Waits until there is a file that could not be sent, or, which is nothing here, an answer or the stream's end to
  // read.
  std::optional<Unsent> Wait() {
    MutexLock lock(mu_);
    while (unsent_.empty() && in_flight_ == 0 && !stream_ended_) changed_.Wait(mu_);
    if (unsent_.empty()) return std::nullopt;
    Unsent unsent = std::move(unsent_.front());
    unsent_.pop_front();
    return unsent;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  size_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool stream_ended_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Unsent> unsent_ ABSL_GUARDED_BY(mu_);
};

// One run over files: senders on threads of their own, the answers on the caller's.
class RemoteRun final {
 public:
  RemoteRun(Client& client, const ServedModel& served, const RemoteOptions& options, absl::Span<const InputFile> files,
            const EmbedChoices& choices, std::vector<uint32_t> levels)
      : max_bytes_(served.max_request_bytes),
        timeout_(options.timeout),
        files_(files),
        choices_(choices),
        levels_(std::move(levels)),
        names_(TensorNames(choices.outputs, levels_)),
        tries_(files.size()),
        queue_(files.size(), WindowOf(served, options)),
        stream_(client.OpenStream(StreamOptionsOf(served, options))) {
    for (int i = 0; i < kSenders; ++i) senders_.emplace_back([this] { SendAll(); });
  }

  ~RemoteRun() {
    queue_.Stop();
    stream_->Cancel();
  }

  RemoteRun(const RemoteRun&) = delete;
  RemoteRun& operator=(const RemoteRun&) = delete;

  // Hands the answer of every file to `sink`.
  absl::Status Finish(const EmbeddingSink& sink) {
    for (size_t done = 0; done < files_.size();) {
      if (std::optional<SendNews::Unsent> unsent = news_.Wait()) {
        queue_.Finished();
        if (absl::Status status = sink(unsent->index, std::move(unsent->why)); !status.ok()) return status;
        ++done;
        continue;
      }
      absl::StatusOr<StreamAnswer> answer = ReadAnswer();
      if (!answer.ok()) return answer.status();
      if (TryAgain(answer->key, answer->result.status)) continue;
      queue_.Finished();
      absl::Status status = sink(answer->key, ToEmbedding(std::move(answer->result), names_));
      if (!status.ok()) return status;
      ++done;
    }
    stream_->WritesDone();
    (void)stream_->Read(system_clock::now() + timeout_);  // the stream's end: all is answered, however it ends
    return absl::OkStatus();
  }

 private:
  // Of one file: when it was first refused for want of room, and how long the next pause is.
  struct Tries {
    std::optional<steady_clock::time_point> first_refused;
    milliseconds pause = kFirstPause;
  };

  void SendAll() {
    while (const std::optional<size_t> index = queue_.Next()) {
      absl::StatusOr<std::string> bytes = ReadWithinLimit(*index);
      if (!bytes.ok()) {
        news_.CannotSend({*index, bytes.status()});
        continue;
      }
      news_.Sent();
      EmbedItem item = MakeItem(files_[*index].path, *std::move(bytes), choices_, levels_);
      if (!stream_->Write(*index, std::move(item)).ok()) return news_.StreamEnded();
    }
  }

  absl::StatusOr<std::string> ReadWithinLimit(size_t index) {
    constexpr int64_t kRoomForTheRest = 512;
    absl::StatusOr<std::string> bytes = IsStandardInput(files_[index]) ? ReadStandardInput() : ReadInput(files_[index]);
    if (!bytes.ok() || static_cast<int64_t>(bytes->size()) <= max_bytes_ - kRoomForTheRest) return bytes;
    return absl::InvalidArgumentError(
        absl::StrCat("has ", bytes->size(), " bytes: the server takes at most ", max_bytes_, " (max_request_bytes)"));
  }

  // It can be read once only, and may have to be sent again.
  absl::StatusOr<std::string> ReadStandardInput() {
    if (!standard_input_) standard_input_ = ReadInput(files_.front());
    return *standard_input_;
  }

  absl::StatusOr<StreamAnswer> ReadAnswer() {
    absl::StatusOr<std::optional<StreamAnswer>> answer = stream_->Read(system_clock::now() + timeout_);
    if (answer.ok() && *answer) {
      news_.Answered();
      return **std::move(answer);
    }
    if (answer.ok()) return absl::InternalError("the server ended the stream");
    if (answer.status().code() != absl::StatusCode::kDeadlineExceeded) return answer.status();
    return absl::DeadlineExceededError(absl::StrCat("no answer within --timeout ", FormatDuration(timeout_)));
  }

  // Where the server had no room and asks for another try, there is one after the pause it asks for and a while more,
  // so that those it refused together do not come back together.
  bool TryAgain(size_t index, absl::Status& refusal) {
    const std::optional<milliseconds> wait = RetryAfter(refusal);
    if (!wait) {
      if (refusal.code() == absl::StatusCode::kResourceExhausted) {
        refusal = absl::InvalidArgumentError(refusal.message());  // no wait cures that
      }
      return false;
    }
    Tries& tries = tries_[index];
    const milliseconds least = std::max(*wait, tries.pause);
    const milliseconds pause = least + milliseconds(random_() % (least.count() / 2 + 1));
    const steady_clock::time_point now = steady_clock::now();
    if (!tries.first_refused) tries.first_refused = now;
    if (now + pause > *tries.first_refused + timeout_) return false;
    tries.pause = std::min(tries.pause * 2, kLongestPause);
    queue_.Again(index, now + pause);
    return true;
  }

  const int64_t max_bytes_;
  const std::chrono::microseconds timeout_;
  const absl::Span<const InputFile> files_;
  const EmbedChoices& choices_;
  const std::vector<uint32_t> levels_;
  const std::vector<std::string> names_;

  std::vector<Tries> tries_;  // of the thread in Finish, as random_
  std::minstd_rand random_{std::random_device{}()};

  std::optional<absl::StatusOr<std::string>> standard_input_;  // of the sender that has it from queue_

  SendNews news_;
  SendQueue queue_;
  const std::unique_ptr<EmbedStream> stream_;
  std::vector<std::jthread> senders_;  // last: joined before the rest goes
};

class RemoteSource final : public EmbeddingSource {
 public:
  RemoteSource(RemoteOptions options, std::unique_ptr<Client> client, ServedModel served)
      : options_(std::move(options)),
        client_(std::move(client)),
        served_(std::move(served)),
        model_{served_.name, served_.fingerprint, served_.deepstack_visual_indexes.size()} {}

  const ModelIdentity& model() const override { return model_; }

  absl::Status Run(absl::Span<const InputFile> files, const EmbedChoices& choices, const EmbeddingSink& sink) override {
    const absl::StatusOr<std::vector<uint32_t>> levels = WantedLevels(choices.outputs, model_);
    if (!levels.ok()) return levels.status();
    return RemoteRun(*client_, served_, options_, files, choices, *levels).Finish(sink);
  }

 private:
  const RemoteOptions options_;
  const std::unique_ptr<Client> client_;
  const ServedModel served_;
  const ModelIdentity model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenRemote(const RemoteOptions& options,
                                                            std::unique_ptr<Client> client) {
  const Client::Deadline deadline =
      system_clock::now() + std::min<std::chrono::microseconds>(options.timeout, std::chrono::seconds(10));
  absl::StatusOr<ServedModel> served = client->GetModelInfo(deadline);
  if (!served.ok()) {
    return absl::Status(served.status().code(),
                        absl::StrCat("--server ", options.client.server, ": ", std::string(served.status().message())));
  }
  return std::make_unique<RemoteSource>(options, std::move(client), *std::move(served));
}

}  // namespace vitower
