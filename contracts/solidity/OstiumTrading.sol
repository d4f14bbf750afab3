// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {OstiumPairs} from "./OstiumPairs.sol";
import {OstiumRegistry} from "./OstiumRegistry.sol";
import {OstiumStorage} from "./OstiumStorage.sol";

/// Test double of Ostium's Trading, generation v3: the interface, checks and errors of the real one, written anew from its
/// ABI and documented rules. The oracle is `settle`, which anybody may call with any price: it is a devnet's.
contract OstiumTrading {
    error AboveMaxAllowedCollateral();
    error BelowFees();
    error BelowMinLevPos();
    error DelegateForbidden();
    error InvalidCallData();
    error IsDone();
    error IsPaused();
    error MaxPendingMarketOrdersReached(address trader);
    error MaxTradesPerPairReached(address trader, uint16 pairIndex);
    error NoDelegate(address a);
    error NoLimitFound(address trader, uint16 pairIndex, uint8 index);
    error NoTradeFound(address trader, uint16 pairIndex, uint8 index);
    error NoTradeToTimeoutFound(uint256 orderId);
    error NotCloseMarketTimeoutOrder(uint256 orderId);
    error NotDelegate(address trader, address caller);
    error NotOpenMarketTimeoutOrder(uint256 orderId);
    error NotYourOrder(uint256 orderId, address trader);
    error NullAddr();
    error PairNotListed(uint16 index);
    error TriggerPending(address sender, uint16 pairIndex, uint8 index);
    error WaitTimeout(uint256 orderId);
    error WrongLeverage(uint32 leverage);
    error WrongParams();
    error WrongSL();
    error WrongTP();

    event PriceRequested(uint256 indexed orderId, OstiumStorage.Kind kind);

    struct BuilderFee {
        address builder;
        uint32 builderFee;
    }

    uint256 private constant ALL = 10_000; // 100 %, two decimals
    uint256 private constant OPENING_FEE_P = 60_000; // 0.06 %, six decimals of a percent
    uint256 private constant MAX_GAIN_P = 900;
    uint256 private constant MAX_SL_P = 8_500; // 85 %, for leverages x 100
    uint32 private constant MAX_BUILDER_FEE = 500_000;

    OstiumRegistry public immutable registry;
    uint256 public constant maxAllowedCollateral = 100_000e6;
    uint16 public constant marketOrdersTimeout = 30;
    bool public isPaused;
    bool public isDone;
    mapping(address => address) public delegations;
    address private _actsFor;

    modifier notDone() {
        if (isDone) revert IsDone();
        _;
    }

    constructor(OstiumRegistry registry_) {
        registry = registry_;
    }

    // -- what a devnet sets -------------------------------------------------------------------------------------------

    function setState(bool paused, bool done) external {
        (isPaused, isDone) = (paused, done);
    }

    // -- opening --------------------------------------------------------------------------------------------------------

    function openTrade(OstiumStorage.Trade calldata t, BuilderFee calldata bf, uint8 orderType, uint256 slippageP)
        external
        notDone
    {
        if (isPaused) revert IsPaused();
        if (!_pairs().isPairIndexListed(t.pairIndex)) revert PairNotListed(t.pairIndex);
        bool market = orderType == 0;
        if (t.openPrice == 0 || (market ? slippageP == 0 || slippageP >= ALL : slippageP != 0)) revert WrongParams();
        if (orderType > 2 || (bf.builder != address(0) && bf.builderFee > MAX_BUILDER_FEE)) revert WrongParams();
        address sender = _sender();
        _checkRoom(sender, t.pairIndex);
        _checkSize(t, bf);
        _checkExits(t.buy, t.openPrice, t.tp, t.sl);
        _storage().pull(sender, t.collateral);
        if (market) _request(OstiumStorage.Kind.Open, _asTrade(t, sender), t.openPrice, uint32(slippageP), 0);
        else _storage().addOrder(_asOrder(t, sender, orderType));
    }

    function _checkRoom(address sender, uint16 pair) private view {
        OstiumStorage kept = _storage();
        if (kept.placesTaken(sender, pair) >= kept.maxTradesPerPair()) revert MaxTradesPerPairReached(sender, pair);
        if (kept.pendingOrderIdsCount(sender) >= kept.maxPendingMarketOrders()) {
            revert MaxPendingMarketOrdersReached(sender);
        }
    }

    function _checkSize(OstiumStorage.Trade calldata t, BuilderFee calldata bf) private view {
        OstiumPairs pairs = _pairs();
        if (t.leverage == 0 || t.leverage < pairs.pairMinLeverage(t.pairIndex)) revert WrongLeverage(t.leverage);
        if (t.leverage > _mostLeverage(t.pairIndex, t.isDayTrade)) revert WrongLeverage(t.leverage);
        if (t.collateral > maxAllowedCollateral) revert AboveMaxAllowedCollateral();
        uint256 notional = t.collateral * t.leverage / 100;
        uint256 feeP = OPENING_FEE_P + (bf.builder == address(0) ? 0 : bf.builderFee);
        uint256 fees = notional * feeP / 1e6 / 100 + pairs.pairOracleFee(t.pairIndex);
        if (fees >= t.collateral) revert BelowFees();
        if ((t.collateral - fees) * t.leverage / 100 < pairs.pairMinLevPos(t.pairIndex)) revert BelowMinLevPos();
    }

    function _mostLeverage(uint16 pair, bool dayTrade) private view returns (uint32) {
        uint32 overnight = _pairs().pairOvernightMaxLeverage(pair);
        return dayTrade || overnight == 0 ? _pairs().pairMaxLeverage(pair) : overnight;
    }

    function _checkExits(bool buy, uint192 price, uint192 tp, uint192 sl) private pure {
        if (tp != 0 && (buy ? tp <= price : tp >= price)) revert WrongTP();
        if (sl != 0 && (buy ? sl >= price : sl <= price)) revert WrongSL();
    }

    // -- closing --------------------------------------------------------------------------------------------------------

    function closeTradeMarket(uint16 pairIndex, uint8 index, uint16 closePercentage, uint192 marketPrice, uint32 slippageP)
        external
        notDone
    {
        if (closePercentage > ALL || marketPrice == 0 || slippageP == 0 || slippageP > ALL) revert WrongParams();
        uint256 share = closePercentage == 0 ? ALL : closePercentage;
        OstiumStorage.Trade memory t = _quietTrade(pairIndex, index);
        if (_storage().pendingOrderIdsCount(t.trader) >= _storage().maxPendingMarketOrders()) {
            revert MaxPendingMarketOrdersReached(t.trader);
        }
        uint256 rest = t.collateral * (ALL - share) / ALL;
        if (share != ALL && rest * t.leverage / 100 < _pairs().pairMinLevPos(pairIndex)) revert BelowMinLevPos();
        _storage().pull(t.trader, _pairs().pairOracleFee(pairIndex));
        _request(OstiumStorage.Kind.Close, t, marketPrice, slippageP, share);
    }

    function openTradeMarketTimeout(uint256 order) external notDone {
        OstiumStorage.Pending memory p = _mine(order);
        if (p.kind != OstiumStorage.Kind.Open) revert NotOpenMarketTimeoutOrder(order);
        if (block.number < p.since + marketOrdersTimeout) revert WaitTimeout(order);
        _storage().dropPending(order);
        _storage().pay(p.trade.trader, p.trade.collateral);
    }

    function closeTradeMarketTimeout(uint256 order, bool retry) external notDone {
        OstiumStorage.Pending memory p = _mine(order);
        if (p.kind != OstiumStorage.Kind.Close) revert NotCloseMarketTimeoutOrder(order);
        if (block.number < p.since + marketOrdersTimeout) revert WaitTimeout(order);
        _storage().dropPending(order);
        if (retry) _request(OstiumStorage.Kind.Close, p.trade, p.wantedPrice, p.slippageP, p.amount);
        else _storage().pay(p.trade.trader, _pairs().pairOracleFee(p.trade.pairIndex));
    }

    function _mine(uint256 order) private view returns (OstiumStorage.Pending memory p) {
        p = _storage().pending(order);
        if (p.kind == OstiumStorage.Kind.None) revert NoTradeToTimeoutFound(order);
        if (p.trade.trader != _sender()) revert NotYourOrder(order, p.trade.trader);
    }

    // -- changing -------------------------------------------------------------------------------------------------------

    function cancelOpenLimitOrder(uint16 pairIndex, uint8 index) external notDone {
        OstiumStorage.OpenLimitOrder memory o = _order(pairIndex, index);
        _storage().dropOrder(o.trader, pairIndex, index);
        uint256 fee = _pairs().pairOracleFee(pairIndex);
        if (o.collateral > fee) _storage().pay(o.trader, o.collateral - fee);
    }

    function updateOpenLimitOrder(uint16 pairIndex, uint8 index, uint192 price, uint192 tp, uint192 sl)
        external
        notDone
    {
        if (price == 0) revert WrongParams();
        OstiumStorage.OpenLimitOrder memory o = _order(pairIndex, index);
        _checkExits(o.buy, price, tp, sl);
        (o.targetPrice, o.tp, o.sl, o.lastUpdated) = (price, tp, sl, uint32(block.timestamp));
        _storage().setOrder(o);
    }

    function updateTp(uint16 pairIndex, uint8 index, uint192 newTp) external notDone {
        OstiumStorage.Trade memory t = _quietTrade(pairIndex, index);
        uint32 first = _storage().getOpenTradeInfo(t.trader, pairIndex, index).initialLeverage;
        uint256 far = uint256(t.openPrice) * MAX_GAIN_P / (first > t.leverage ? first : t.leverage);
        uint256 least = far < t.openPrice ? t.openPrice - far : 0;
        if (newTp == 0 || (t.buy ? newTp > t.openPrice + far : newTp < least)) revert WrongTP();
        t.tp = newTp;
        _storage().setTrade(t);
    }

    function updateSl(uint16 pairIndex, uint8 index, uint192 newSl) external notDone {
        OstiumStorage.Trade memory t = _quietTrade(pairIndex, index);
        uint256 far = uint256(t.openPrice) * MAX_SL_P / 100 / t.leverage;
        if (newSl != 0 && (t.buy ? newSl + far < t.openPrice : newSl > t.openPrice + far)) revert WrongSL();
        t.sl = newSl;
        _storage().setTrade(t);
    }

    function topUpCollateral(uint16 pairIndex, uint8 index, uint256 topUpAmount) external notDone {
        OstiumStorage.Trade memory t = _quietTrade(pairIndex, index);
        if (topUpAmount == 0) revert WrongParams();
        uint256 size = (t.collateral * t.leverage + 99) / 100;
        uint256 more = t.collateral + topUpAmount;
        uint32 leverage = uint32((size * 100 + more - 1) / more); // rounded up, so that the trader pays no more
        more = size * 100 / leverage;
        if (more <= t.collateral) revert WrongParams();
        if (more > maxAllowedCollateral) revert AboveMaxAllowedCollateral();
        if (leverage >= t.leverage || leverage < _pairs().pairMinLeverage(pairIndex)) revert WrongLeverage(leverage);
        _storage().pull(t.trader, more - t.collateral);
        (t.collateral, t.leverage) = (more, leverage);
        _storage().setTrade(t);
    }

    function removeCollateral(uint16 pairIndex, uint8 index, uint256 removeAmount) external notDone {
        if (isPaused) revert IsPaused();
        OstiumStorage.Trade memory t = _quietTrade(pairIndex, index);
        if (removeAmount == 0 || removeAmount >= t.collateral) revert WrongParams();
        uint256 size = (t.collateral * t.leverage + 99) / 100;
        uint32 leverage = uint32(size * 100 / (t.collateral - removeAmount));
        if (leverage <= t.leverage || leverage > _mostLeverage(pairIndex, t.isDayTrade)) revert WrongLeverage(leverage);
        _storage().pull(t.trader, _pairs().pairOracleFee(pairIndex));
        _request(OstiumStorage.Kind.Remove, t, 0, 0, t.collateral - size * 100 / leverage);
    }

    // -- delegation -----------------------------------------------------------------------------------------------------

    function setDelegate(address delegate) external {
        if (_actsFor != address(0)) revert DelegateForbidden();
        if (delegate == address(0)) revert NullAddr();
        delegations[msg.sender] = delegate;
    }

    function removeDelegate() external {
        if (_actsFor != address(0)) revert DelegateForbidden();
        if (delegations[msg.sender] == address(0)) revert NoDelegate(msg.sender);
        delete delegations[msg.sender];
    }

    function delegatedAction(address trader, bytes calldata call_data) external returns (bytes memory) {
        if (delegations[trader] != msg.sender) revert NotDelegate(trader, msg.sender);
        if (call_data.length < 4) revert InvalidCallData();
        _actsFor = trader;
        (bool ok, bytes memory answer) = address(this).delegatecall(call_data);
        _actsFor = address(0);
        if (!ok) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }

    // -- the oracle -----------------------------------------------------------------------------------------------------

    function settle(uint256 order, uint192 price) external {
        OstiumStorage.Pending memory p = _storage().pending(order);
        if (p.kind == OstiumStorage.Kind.None) revert NoTradeToTimeoutFound(order);
        _storage().dropPending(order);
        OstiumStorage.Trade memory t = p.trade;
        if (p.kind == OstiumStorage.Kind.Open) {
            t.openPrice = price;
            _storage().addTrade(t);
            return;
        }
        uint256 out = p.kind == OstiumStorage.Kind.Remove ? p.amount : t.collateral * p.amount / ALL;
        if (p.kind == OstiumStorage.Kind.Remove) {
            t.leverage = uint32(t.collateral * t.leverage / (t.collateral - out));
        }
        t.collateral -= out;
        if (t.collateral == 0) _storage().dropTrade(t.trader, t.pairIndex, t.index);
        else _storage().setTrade(t);
        _storage().pay(t.trader, out);
    }

    // -- shared ---------------------------------------------------------------------------------------------------------

    function _request(OstiumStorage.Kind kind, OstiumStorage.Trade memory t, uint192 price, uint32 slippageP, uint256 amount)
        private
    {
        uint256 id = _storage().addPending(OstiumStorage.Pending(kind, block.number, t, price, slippageP, amount));
        emit PriceRequested(id, kind);
    }

    function _quietTrade(uint16 pair, uint8 index) private view returns (OstiumStorage.Trade memory t) {
        address sender = _sender();
        t = _storage().getOpenTrade(sender, pair, index);
        if (t.leverage == 0) revert NoTradeFound(sender, pair, index);
        if (_storage().getOpenTradeInfo(sender, pair, index).beingMarketClosed) {
            revert TriggerPending(sender, pair, index);
        }
    }

    function _order(uint16 pair, uint8 index) private view returns (OstiumStorage.OpenLimitOrder memory o) {
        address sender = _sender();
        o = _storage().getOpenLimitOrder(sender, pair, index);
        if (o.leverage == 0) revert NoLimitFound(sender, pair, index);
    }

    function _asTrade(OstiumStorage.Trade calldata t, address trader) private pure returns (OstiumStorage.Trade memory m) {
        m = t;
        (m.trader, m.index) = (trader, 0); // whatever the caller wrote there
    }

    function _asOrder(OstiumStorage.Trade calldata t, address trader, uint8 orderType)
        private
        view
        returns (OstiumStorage.OpenLimitOrder memory o)
    {
        (o.collateral, o.targetPrice, o.tp, o.sl, o.trader) = (t.collateral, t.openPrice, t.tp, t.sl, trader);
        (o.leverage, o.pairIndex, o.orderType, o.buy) = (t.leverage, t.pairIndex, orderType, t.buy);
        (o.createdAt, o.lastUpdated) = (uint32(block.timestamp), uint32(block.timestamp));
        o.isDayTrade = t.isDayTrade;
    }

    function _sender() private view returns (address) {
        return _actsFor == address(0) ? msg.sender : _actsFor;
    }

    function _pairs() private view returns (OstiumPairs) {
        return OstiumPairs(registry.getContractAddress("pairsStorage"));
    }

    function _storage() private view returns (OstiumStorage) {
        return OstiumStorage(registry.getContractAddress("tradingStorage"));
    }
}
