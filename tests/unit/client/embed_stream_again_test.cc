#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/embed_stream.h"
#include "stream_answers.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

// A stream that is opened again where it breaks.

grpc::Status Draining() { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining"); }

// So that what is tried again is tried by the stream.
std::unique_ptr<EmbedStream> OpenPersistent(const FakeServer& server, int attempts, int64_t chunk_bytes = 1 << 20) {
  const auto client = Client::Create({.server = server.address(), .attempts = 1});
  return (*client)->OpenStream({.max_items = 16, .chunk_bytes = chunk_bytes, .deadline = Soon(), .attempts = attempts});
}

TEST(EmbedStream, WhatABrokenStreamLeftUnansweredIsSentAgainAndAnsweredOnce) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream& stream) {
    if (++calls > 1) return Echo(stream);
    v1::EmbedStreamRequest request;
    for (int i = 0; i < 3; ++i) stream.Read(&request);
    stream.Write(Answer(2, "first"));
    return Draining();
  });
  const auto stream = OpenPersistent(server, /*attempts=*/3);
  for (uint64_t key : {1, 2, 3}) ASSERT_TRUE(stream->Write(key, ImageItem("x", std::to_string(key))).ok());
  stream->WritesDone();
  std::map<uint64_t, std::string> answers;
  for (int i = 0; i < 3; ++i) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_TRUE(answers.emplace((*answer)->key, (*answer)->result.id).second);
  }
  EXPECT_THAT(answers, ElementsAre(Pair(1, "1"), Pair(2, "first"), Pair(3, "3")));
  EXPECT_TRUE(stream->Read().ok());  // the half-close reached the second call
  EXPECT_EQ(calls, 2);
}

TEST(EmbedStream, AnItemOfManyPartsIsSentAgainFromItsBeginning) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream& stream) {
    const bool first = ++calls == 1;
    std::string bytes;
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      if (request.part().offset() != bytes.size()) return grpc::Status(grpc::StatusCode::INTERNAL, "a part is missing");
      bytes += request.part().data();
      if (first && bytes.size() > 3000) return Draining();
      if (bytes.size() == request.part().total()) stream.Write(Answer(request.key(), std::to_string(bytes.size())));
    }
    return grpc::Status::OK;
  });
  const auto stream = OpenPersistent(server, /*attempts=*/3, /*chunk_bytes=*/1000);
  ASSERT_TRUE(stream->Write(5, ImageItem(std::string(9000, 'x'))).ok());
  stream->WritesDone();
  const auto answer = stream->Read();
  ASSERT_TRUE(answer.ok() && *answer) << answer.status();
  EXPECT_GT(std::stoi((*answer)->result.id), 9000);
  EXPECT_EQ(calls, 2);
}

TEST(EmbedStream, AnItemThatIsSharedGoesUnderManyKeysAndIsLetGo) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream& stream) {
    v1::EmbedStreamRequest request;
    if (++calls == 1 && stream.Read(&request)) return Draining();
    while (stream.Read(&request)) stream.Write(Answer(request.key(), std::to_string(request.item().image().size())));
    return grpc::Status::OK;
  });
  auto item = std::make_shared<const EmbedItem>(ImageItem(std::string(9000, 'x')));
  const std::weak_ptr<const EmbedItem> watched = item;
  {
    const auto stream = OpenPersistent(server, /*attempts=*/3);
    for (uint64_t key : {1, 2, 3}) ASSERT_TRUE(stream->Write(key, item).ok());
    item.reset();
    stream->WritesDone();
    for (int i = 0; i < 3; ++i) {
      const auto answer = stream->Read();
      ASSERT_TRUE(answer.ok() && *answer) << answer.status();
      EXPECT_EQ((*answer)->result.id, "9000");
    }
    EXPECT_TRUE(stream->Read().ok());
  }
  EXPECT_TRUE(watched.expired());
}

TEST(EmbedStream, AStreamThatBreaksAgainAndAgainEndsWithItsLastStatus) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream&) {
    ++calls;
    return Draining();
  });
  const auto stream = OpenPersistent(server, /*attempts=*/3);
  EXPECT_TRUE(stream->Write(1, ImageItem("x")).ok());
  EXPECT_EQ(stream->Read().status(), absl::UnavailableError("draining"));
  EXPECT_EQ(stream->Read().status(), absl::UnavailableError("draining"));
  EXPECT_EQ(stream->Write(2, ImageItem("x")).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
}

TEST(EmbedStream, ManyItemsOverAStreamThatBreaksOftenAreEachAnsweredOnce) {
  FakeServer server([](Stream& stream) {
    v1::EmbedStreamRequest request;
    for (int i = 0; stream.Read(&request); ++i) {
      if (i == 13) return Draining();
      if (i % 5 != 4) stream.Write(Answer(request.key(), request.item().id()));  // the fifth is left to the next call
    }
    return Draining();
  });
  // An item may by chance be among those left over several times in a row.
  const auto stream = OpenPersistent(server, /*attempts=*/10);
  constexpr uint64_t kItems = 60;
  std::jthread writer([&] {
    for (uint64_t key = 0; key < kItems; ++key) {
      EXPECT_TRUE(stream->Write(key, ImageItem("x", std::to_string(key))).ok());
    }
    stream->WritesDone();
  });
  std::set<uint64_t> answered;
  while (answered.size() < kItems) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_EQ((*answer)->result.id, std::to_string((*answer)->key));
    EXPECT_TRUE(answered.insert((*answer)->key).second);
  }
}

v1::EmbedStreamResponse Unavailable(uint64_t key) {
  v1::EmbedStreamResponse response = Answer(key);
  response.mutable_result()->mutable_status()->set_code(static_cast<uint32_t>(absl::StatusCode::kUnavailable));
  return response;
}

TEST(EmbedStream, AnItemThatIsAnsweredUnavailableIsSentAgain) {
  FakeServer server([](Stream& stream) {
    int count = 0;
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      stream.Write(++count < 3 ? Unavailable(request.key()) : Answer(request.key(), request.item().id()));
    }
    return grpc::Status::OK;
  });
  const auto stream = OpenPersistent(server, /*attempts=*/4);
  ASSERT_TRUE(stream->Write(5, ImageItem("x", "five")).ok());
  const auto answer = stream->Read();
  ASSERT_TRUE(answer.ok() && *answer) << answer.status();
  EXPECT_EQ((*answer)->result.id, "five");
  stream->WritesDone();
  const auto end = stream->Read();
  EXPECT_TRUE(end.ok() && !end->has_value()) << end.status();
}

TEST(EmbedStream, AnItemThatIsUnavailableAfterTheHalfCloseGoesOnAnotherCall) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream& stream) {
    const bool first = ++calls == 1;
    std::vector<uint64_t> keys;
    for (v1::EmbedStreamRequest request; stream.Read(&request);) keys.push_back(request.key());
    for (uint64_t key : keys) stream.Write(first ? Unavailable(key) : Answer(key));
    return grpc::Status::OK;
  });
  const auto stream = OpenPersistent(server, /*attempts=*/3);
  ASSERT_TRUE(stream->Write(5, ImageItem("x")).ok());
  stream->WritesDone();
  const auto answer = stream->Read();
  ASSERT_TRUE(answer.ok() && *answer) << answer.status();
  EXPECT_TRUE((*answer)->result.status.ok());
  const auto end = stream->Read();
  EXPECT_TRUE(end.ok() && !end->has_value()) << end.status();
  EXPECT_EQ(calls, 2);
}

// Where the server answers UNAVAILABLE and the writer is done at the same time.
TEST(EmbedStream, AHalfCloseWhileAnItemIsToBeSentAgainComesAfterIt) {
  for (int round = 0; round < 3; ++round) {
    std::promise<void> refused;
    std::atomic<int> calls = 0;
    FakeServer server([&](Stream& stream) {
      const bool first = ++calls == 1;
      v1::EmbedStreamRequest request;
      if (first && stream.Read(&request) && stream.Write(Unavailable(request.key()))) refused.set_value();
      return Echo(stream);
    });
    const auto stream = OpenPersistent(server, /*attempts=*/3);
    ASSERT_TRUE(stream->Write(5, ImageItem("x", "five")).ok());
    std::jthread writer([&] {
      refused.get_future().wait();
      stream->WritesDone();
    });
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_EQ((*answer)->result.id, "five");
    const auto end = stream->Read();
    EXPECT_TRUE(end.ok() && !end->has_value()) << end.status();
  }
}

// Neither from the writer nor when it is sent again.
TEST(EmbedStream, AnItemThatACallDidNotTakeGoesOnAnotherThoughTheCallEndedWell) {
  std::atomic<int> calls = 0;
  FakeServer server([&](Stream& stream) {
    if (++calls < 3) return grpc::Status::OK;
    std::string bytes;
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      bytes += request.part().data();
      if (bytes.size() == request.part().total()) stream.Write(Answer(request.key(), std::to_string(bytes.size())));
    }
    return grpc::Status::OK;
  });
  const auto stream = OpenPersistent(server, /*attempts=*/4, /*chunk_bytes=*/100'000);
  ASSERT_TRUE(stream->Write(5, ImageItem(std::string(8'000'000, 'x'))).ok());  // more than is under way at a time
  stream->WritesDone();
  const auto answer = stream->Read();
  ASSERT_TRUE(answer.ok() && *answer) << answer.status();
  EXPECT_TRUE((*answer)->result.status.ok()) << (*answer)->result.status;
  EXPECT_EQ(calls, 3);
}

TEST(EmbedStream, AnItemThatBreaksEveryCallIsGivenUpThoughOthersAreAnswered) {
  std::atomic<int> poisoned = 0;
  FakeServer server([&](Stream& stream) {
    bool breaks = false;  // after the next answer
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      if (request.item().id() == "poison" && !std::exchange(breaks, true)) continue;
      stream.Write(Answer(request.key(), request.item().id()));
      if (breaks) return ++poisoned < 10 ? Draining() : grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  });
  const auto stream = OpenPersistent(server, /*attempts=*/3);
  ASSERT_TRUE(stream->Write(1000, ImageItem("x", "poison")).ok());
  bool given_up = false;
  for (uint64_t key = 2000; !given_up; ++key) {
    ASSERT_TRUE(stream->Write(key, ImageItem("x", "good")).ok());
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    given_up = (*answer)->key == 1000;
    EXPECT_EQ((*answer)->result.id, given_up ? "poison" : "good");
    EXPECT_EQ((*answer)->result.status, given_up ? absl::UnavailableError("draining") : absl::OkStatus());
  }
  EXPECT_EQ(poisoned, 3);
}

TEST(EmbedStream, CancelEndsTheWaitForAServer) {
  FakeServer server([](Stream&) { return Draining(); });
  const auto stream = OpenPersistent(server, /*attempts=*/1000);
  std::jthread cancels([&] { stream->Cancel(); });
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace vitower
